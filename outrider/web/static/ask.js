// Asking the dashboard's server, with what went wrong in words.

import { at } from "./root.js";

export async function ask(path, fields = {}) {
  const search = String(new URLSearchParams(fields));
  const answer = await fetch(at(search ? `${path}?${search}` : path), { cache: "no-store" });
  if (answer.status === 401) throw new Error("This page may not see the fleet any more. Open the address that outrider up printed.");
  const said = await answer.json().catch(() => ({ error: `The dashboard answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(said.error ?? `The dashboard answered ${answer.status}.`);
  return said;
}

// fetch says no more than that it failed.
export const words = (error) =>
  !error ? "" : error instanceof TypeError ? "The connection to the dashboard is lost; trying again. What you see is from before." : error.message;
