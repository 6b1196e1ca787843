// Splits texts into words and the tokens of a vocabulary.

/** A word and the ids of its tokens. */
export interface TokenizedWord {
  readonly ids: readonly number[];
  /** Start and end of the word in the text, as JavaScript string indices. */
  readonly start: number;
  readonly end: number;
}

export interface Tokenizer {
  /** The words of a text, which must not have unpaired surrogates. Special tokens are not added. */
  words(text: string): TokenizedWord[];
  /** The largest id in the vocabulary, special tokens included. */
  readonly largestId: number;
}
