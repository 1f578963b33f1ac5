// A page about one of many, opened without saying which: the list to choose from.

import { badge, empty, link, table } from "./build.js";

export function choose(list, { label, href, host, nothing }) {
  if (!list.length) return empty(...nothing);
  return table([
    { label, words: true, cell: (one) => link(href(one), one.name, 80) },
    ...(host ? [{ label: "Host", words: true, cell: (one) => one.host }] : []),
    { label: "State", cell: (one) => badge(one.health ?? (one.fresh ? one.state : "unknown"), one.fresh === false ? "silent" : one.state) },
  ], list, { caption: `Choose a ${label.toLowerCase()}` });
}
