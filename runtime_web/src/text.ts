/** One text, or the two texts of a pair. */
export type Text = string | readonly [string, string];
