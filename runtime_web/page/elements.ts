/** The element with this id and class. Throws when the page has no such element, which is a bug. */
export function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const candidate = document.getElementById(id);
  if (candidate instanceof type) return candidate;
  throw new Error(`#${id}: found ${candidate?.tagName ?? "nothing"}, expected ${type.name}`);
}

/** Creates an element with a class and a text. */
export function create(tag: string, className: string, text = ""): HTMLElement {
  const created = document.createElement(tag);
  if (className !== "") created.className = className;
  created.textContent = text;
  return created;
}

/** A probability in percent, with a decimal near 0 and 1. */
export function percent(prob: number): string {
  return `${(100 * prob).toFixed(prob < 0.0995 || prob > 0.9905 ? 1 : 0)}%`;
}
