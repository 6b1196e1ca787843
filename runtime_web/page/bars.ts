import { make, percent } from "./elements.js";

/** At most this many labels stand still, each at its place; of more, the most probable are shown, the best first. */
const MOST = 12;

/** The labels as bars. */
export class Bars {
  private labels: readonly string[] = [];

  constructor(
    private readonly list: HTMLElement,
    private readonly others: HTMLElement,
  ) {}

  /** Shows the labels of a bundle, all bars empty. */
  setLabels(labels: readonly string[]): void {
    this.labels = labels;
    const shown = labels.slice(0, MOST).map((label) => {
      const item = document.createElement("li");
      const track = make("div", "track");
      track.append(make("div", "fill"));
      item.append(make("span", "name", label), make("span", "percent", "–"), track);
      return item;
    });
    this.list.replaceChildren(...shown);
    this.others.hidden = true;
  }

  /** Moves the bars; null empties them. */
  show(probs: Float32Array | null): void {
    let order = Array.from(this.labels.keys());
    if (probs !== null && this.labels.length > MOST) order = order.sort((a, b) => probs[b]! - probs[a]!).slice(0, MOST);
    const best = probs === null ? -1 : probs.indexOf(Math.max(...probs));
    for (const [place, item] of Array.from(this.list.children).entries()) {
      const column = order[place]!;
      const prob = probs?.[column] ?? 0;
      item.classList.toggle("best", column === best);
      item.children[0]!.textContent = this.labels[column]!;
      item.children[1]!.textContent = probs === null ? "–" : percent(prob);
      (item as HTMLElement).style.setProperty("--prob", String(prob));
    }
    this.others.hidden = this.labels.length <= MOST;
    const rest = probs === null ? "" : `, ${percent(1 - order.reduce((sum, column) => sum + probs[column]!, 0))} in all`;
    this.others.textContent = `and ${this.labels.length - MOST} more labels${rest}`;
  }

  /** Draws the line below which there is no label; null takes it away. */
  setLimit(threshold: number | null): void {
    this.list.toggleAttribute("data-limit", threshold !== null);
    this.list.style.setProperty("--limit-at", String(threshold ?? 0));
  }
}
