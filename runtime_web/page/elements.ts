/** The element with an id, which is of a class. Throws where the page has no such element: then page and program differ. */
export function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`#${id}: found ${found?.tagName ?? "nothing"}, expected ${type.name}`);
}

/** A new element with a class and a text. */
export function make(tag: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.textContent = text;
  return made;
}

/** A probability for people. */
export function percent(prob: number): string {
  return `${(100 * prob).toFixed(prob < 0.0995 || prob > 0.9905 ? 1 : 0)} %`;
}
