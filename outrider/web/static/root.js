// Where the dashboard's root is: a proxy may have put it under a path, and we were loaded from there.
const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

// Addresses of our own begin with one slash; others, and those that have the root already, stay.
export const at = (address) =>
  ROOT && /^\/(?!\/)/.test(address) && !address.startsWith(`${ROOT}/`) ? ROOT + address : address;
