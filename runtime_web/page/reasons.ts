import { element, make } from "./elements.js";
import type { Reason } from "./messages.js";

/** Words weaker than this part of the strongest are left as they are. */
const WEAK = 1 / 4;
/** So many of the strongest words are listed with their figures. */
const LISTED = 5;

type Explain = (text: string, pair: string | null) => Promise<readonly Reason[] | null>;

/** The words that speak for and against the label; worked out while a person has it open. */
export class Reasons {
  private readonly details = element("reasons", HTMLDetailsElement);
  private readonly marked = element("marked", HTMLElement);
  private readonly figures = element("figures", HTMLElement);
  private asked: readonly [text: string, pair: string | null, label: string] | null = null;
  private pause: number | undefined;

  constructor(
    private readonly explain: Explain,
    private readonly onError: (error: unknown) => void,
  ) {
    this.details.addEventListener("toggle", () => this.refresh());
  }

  /** Takes a text and its most probable label, or nothing. Works them out once the typing pauses. */
  set(asked: readonly [text: string, pair: string | null, label: string] | null): void {
    this.asked = asked;
    window.clearTimeout(this.pause);
    this.pause = window.setTimeout(() => this.refresh(), 250);
  }

  private refresh(): void {
    const asked = this.asked;
    if (asked === null) {
      this.marked.replaceChildren();
      this.figures.textContent = "";
    } else if (this.details.open) {
      this.explain(asked[0], asked[1]).then(
        (reasons) => {
          if (reasons !== null && asked === this.asked) this.show(asked, reasons);
        },
        (error: unknown) => {
          if (asked === this.asked) this.onError(error);
        },
      );
    }
  }

  private show([text, pair, label]: readonly [string, string | null, string], reasons: readonly Reason[]): void {
    const most = Math.max(0, ...reasons.map((reason) => Math.abs(reason.evidence)));
    const paragraphs = [text, ...(pair === null ? [] : [pair])].map((whole, part) => {
      const paragraph = make("p", "");
      let at = 0;
      for (const { start, end, evidence } of reasons.filter((reason) => reason.part === part)) {
        if (Math.abs(evidence) <= most * WEAK) continue;
        const mark = make("mark", evidence > 0 ? "for" : "against", whole.slice(start, end));
        paragraph.append(whole.slice(at, start), mark);
        at = end;
      }
      paragraph.append(whole.slice(at));
      return paragraph;
    });
    this.marked.replaceChildren(...paragraphs);
    const strongest = reasons.toSorted((a, b) => Math.abs(b.evidence) - Math.abs(a.evidence)).slice(0, LISTED);
    const listed = strongest.map(({ start, end, part, evidence }) => {
      const word = (part === 0 ? text : pair!).slice(start, end);
      return `${word} ${evidence > 0 ? "+" : "−"}${Math.abs(evidence).toFixed(1)}`;
    });
    this.figures.textContent = `What the log-odds of ${label} lose without the word: ${listed.join(", ")}.`;
  }
}
