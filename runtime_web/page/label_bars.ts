import { create, element, percent } from "./elements.js";

/** With more labels than this, only the most probable ones are shown. */
const MAX_BARS = 12;

/** A bar for the probability of each label. */
export class LabelBars {
  private readonly list = element("bars", HTMLElement);
  private readonly hiddenLabels = element("hidden-labels", HTMLElement);
  private labels: readonly string[] = [];

  /** Shows an empty bar for each label. */
  setLabels(labels: readonly string[]): void {
    this.labels = labels;
    const items = labels.slice(0, MAX_BARS).map((label) => {
      const item = document.createElement("li");
      const track = create("div", "track");
      track.append(create("div", "fill"));
      item.append(create("span", "name", label), create("span", "percent", "–"), track);
      return item;
    });
    this.list.replaceChildren(...items);
    this.hiddenLabels.hidden = true;
  }

  /** Sets the bars to the probabilities, the best first; null empties them. */
  show(probs: Float32Array | null): void {
    const columns = Array.from(this.labels.keys());
    if (probs !== null) columns.sort((a, b) => probs[b]! - probs[a]!);
    columns.length = Math.min(columns.length, MAX_BARS);
    const best = probs === null ? -1 : probs.indexOf(Math.max(...probs));
    for (const [index, item] of Array.from(this.list.children).entries()) {
      const column = columns[index]!;
      const prob = probs?.[column] ?? 0;
      item.classList.toggle("best", column === best);
      item.children[0]!.textContent = this.labels[column]!;
      item.children[1]!.textContent = probs === null ? "–" : percent(prob);
      (item as HTMLElement).style.setProperty("--prob", String(prob));
    }
    this.hiddenLabels.hidden = this.labels.length <= MAX_BARS;
    const total = probs === null ? "" : `, ${percent(1 - columns.reduce((sum, column) => sum + probs[column]!, 0))} in total`;
    this.hiddenLabels.textContent = `${this.labels.length - MAX_BARS} more labels${total}`;
  }

  /** Draws the threshold as a line across the bars; null removes it. */
  setThreshold(threshold: number | null): void {
    this.list.toggleAttribute("data-threshold", threshold !== null);
    this.list.style.setProperty("--threshold", String(threshold ?? 0));
  }
}
