// Who is in sight: what is not need not be drawn every second, and is drawn when it comes there.

const held = new Map();
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const one = held.get(target);
    if (!one) continue;
    one.seen = isIntersecting;
    if (isIntersecting) one.onSight();
  }
}, { rootMargin: "150px" });

export function inSight(node, onSight) {
  const one = { seen: false, onSight };
  held.set(node, one);
  observer.observe(node);
  return {
    get seen() { return one.seen; },
    forget() { observer.unobserve(node); held.delete(node); },
  };
}
