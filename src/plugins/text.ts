/**
 * Texts that a plugin has written, for the log and for status: they may hold whatever other nodes published.
 *
 * @module
 */

/** No text is longer, in UTF-16 code units. */
const LONGEST = 1_000;

/** One line without control characters, of bearable length. */
export function oneLine(text: unknown): string {
  const line = String(text).trim().replace(/\s+/g, " ").replace(/\p{Cc}/gu, "?");
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}
