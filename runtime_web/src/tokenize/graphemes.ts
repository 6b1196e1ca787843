// Where a text may be divided into grapheme clusters: what a reader takes for one character.

import { graphemeClassOf } from "./characters.js";

// Classes of code points. The generator, runtime_cpp/tools/reference_characters.py, uses the same order.
const CONTROL = 1;
const PREPEND = 2;
const EXTEND = 3;
const LINKER = 4;
const NON_JOINER = 5;
const JOINER = 6;
const SPACING = 7;
const PICTOGRAPH = 8;
const HANGUL_L = 9;
const HANGUL_V = 10;
const HANGUL_T = 11;
const HANGUL_LV = 12;
const HANGUL_LVT = 13;
const CONSONANT = 14;

/**
 * The ends of the clusters of a text, by the rules GB3 to GB11 of Unicode's annex 29. Pairs of regional indicators count as two
 * clusters: nobody asks for them.
 */
export function clusterEnds(codes: readonly number[]): number[] {
  const ends: number[] = [];
  const cluster = new Cluster();
  codes.forEach((code, i) => {
    const next = graphemeClassOf(code);
    if (i > 0 && !cluster.joins(code, next)) {
      ends.push(i);
      cluster.clear();
    }
    cluster.add(code, next);
  });
  if (codes.length > 0) ends.push(codes.length);
  return ends;
}

// What a cluster has so far.
class Cluster {
  private last = 0;
  private lastCode = 0;
  private consonant = false; // it ends with a consonant of an Indic script and what extends it
  private linked = false; // ... with a linker among that
  private pictograph = false; // it ends with a pictograph and what extends it
  private joinedPictograph = false; // ... and with a joiner behind that

  clear(): void {
    this.consonant = this.linked = this.pictograph = this.joinedPictograph = false;
  }

  joins(code: number, next: number): boolean {
    const { last } = this;
    if (last === CONTROL || next === CONTROL) return this.lastCode === 0x0d && code === 0x0a;
    if (next >= EXTEND && next <= SPACING) return true;
    if (last === PREPEND) return true;
    if (next === HANGUL_L || next === HANGUL_LV || next === HANGUL_LVT) return last === HANGUL_L;
    if (next === HANGUL_V) return last === HANGUL_L || last === HANGUL_V || last === HANGUL_LV;
    if (next === HANGUL_T) return last >= HANGUL_V && last <= HANGUL_LVT;
    if (next === CONSONANT) return this.linked;
    return next === PICTOGRAPH && this.joinedPictograph;
  }

  add(code: number, next: number): void {
    const extended = next === EXTEND || next === LINKER;
    this.linked = this.consonant && (next === LINKER || (this.linked && (extended || next === JOINER)));
    this.consonant = next === CONSONANT || (this.consonant && (extended || next === JOINER));
    this.joinedPictograph = this.pictograph && next === JOINER;
    this.pictograph = next === PICTOGRAPH || (this.pictograph && (extended || next === NON_JOINER));
    this.last = next;
    this.lastCode = code;
  }
}
