"""What both ends of the channel between bots and supervisor share: frames, queues, pace.

The supervisor's end is :mod:`outrider.supervisor.channel`, a bot's :mod:`outrider.sdk.channel`.
"""
