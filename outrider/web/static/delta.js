// Makes the next frame of the last one and what changed (outrider/web/delta.py). What did not change
// is the same object in both, so that whoever draws sees at once that there is nothing to do.

export function apply(before, [kind, given, more]) {
  if (kind === 0) return given;
  if (kind === 3) return [...before.slice(given, given + before.length - more.length), ...more];
  const after = kind === 1 ? { ...before } : [...before];
  for (const [name, patch] of Object.entries(given)) after[name] = apply(before[name], patch);
  return after;
}
