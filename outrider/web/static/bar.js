// The bar above every page: the choice between the reader's own time and UTC.

import { $ } from "./dom.js";
import * as format from "./format.js";

function show() {
  $("zone").setAttribute("aria-pressed", format.isUtc());
}

$("zone").addEventListener("click", () => {
  const given = new URLSearchParams(location.search);
  given.delete("tz");
  if (!format.isUtc()) given.set("tz", "utc");
  const search = String(given);
  history.replaceState(null, "", search ? `${location.pathname}?${search}` : location.pathname);
  format.setUtc(!format.isUtc());
  show();
});
show();
