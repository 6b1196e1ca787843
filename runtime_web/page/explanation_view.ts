import { create, element } from "./elements.js";
import type { WordEvidence } from "./messages.js";

/** A word is highlighted when its evidence is at least this part of the strongest. */
const MIN_RELATIVE_EVIDENCE = 1 / 4;
/** Number of words that are listed with their evidence. */
const MAX_LISTED = 5;
/** Pause in typing after which the explanation is computed. */
const DELAY_MS = 250;

/** A text and its most probable label. */
export interface Explained {
  readonly text: string;
  readonly pair: string | null;
  readonly label: string;
}

type Explain = (text: string, pair: string | null) => Promise<readonly WordEvidence[] | null>;

/** Highlights the words that speak for and against the label. Computes them only while the section is open. */
export class ExplanationView {
  private readonly details = element("explanation", HTMLDetailsElement);
  private readonly highlighted = element("highlighted", HTMLElement);
  private readonly evidence = element("evidence", HTMLElement);
  private explained: Explained | null = null;
  private timer: number | undefined;

  constructor(
    private readonly explain: Explain,
    private readonly onError: (error: unknown) => void,
  ) {
    this.details.addEventListener("toggle", () => this.refresh());
  }

  /** Sets what to explain; null clears the section. */
  set(explained: Explained | null): void {
    this.explained = explained;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.refresh(), DELAY_MS);
  }

  private refresh(): void {
    const explained = this.explained;
    if (explained === null) {
      this.highlighted.replaceChildren();
      this.evidence.textContent = "";
    } else if (this.details.open) {
      this.explain(explained.text, explained.pair).then(
        (words) => {
          if (words !== null && explained === this.explained) this.show(explained, words);
        },
        (error: unknown) => {
          if (explained === this.explained) this.onError(error);
        },
      );
    }
  }

  private show({ text, pair, label }: Explained, words: readonly WordEvidence[]): void {
    const strongest = Math.max(0, ...words.map((word) => Math.abs(word.evidence)));
    const parts = pair === null ? [text] : [text, pair];
    const paragraphs = parts.map((content, part) => {
      const paragraph = create("p", "");
      let position = 0;
      for (const { start, end, evidence } of words.filter((word) => word.part === part)) {
        if (Math.abs(evidence) <= strongest * MIN_RELATIVE_EVIDENCE) continue;
        const mark = create("mark", evidence > 0 ? "for" : "against", content.slice(start, end));
        paragraph.append(content.slice(position, start), mark);
        position = end;
      }
      paragraph.append(content.slice(position));
      return paragraph;
    });
    this.highlighted.replaceChildren(...paragraphs);
    const listed = words
      .toSorted((a, b) => Math.abs(b.evidence) - Math.abs(a.evidence))
      .slice(0, MAX_LISTED)
      .map(({ start, end, part, evidence }) => {
        const word = parts[part]!.slice(start, end);
        return `${word} ${evidence > 0 ? "+" : "−"}${Math.abs(evidence).toFixed(1)}`;
      });
    this.evidence.textContent = `Evidence for ${label}, in log-odds: ${listed.join(", ")}.`;
  }
}
