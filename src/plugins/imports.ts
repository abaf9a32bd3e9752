/**
 * What the text of a plugin imports at run time.
 *
 * A plugin is one file and may import only modules of the runtime: others need not be on the node, and nobody has looked at who may
 * change them. This finds what is imported in the usual ways, to say so before it fails; it does not keep anybody from anything.
 *
 * @module
 */

/** Comments, strings and templates: what is between them is code. */
const WORDLESS = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g;
/** An import for its effect, one of names, one that is made while running; the number is that of a string. */
const IMPORTS =
  /\bimport\s*"(\d+)"|\b(?:import|export)\b(?!\s+type\b)[\w\s{},*$]*?\bfrom\s*"(\d+)"|\b(?:import|require)\s*\(\s*"(\d+)"/g;

/** The modules that a text imports, those of the runtime left out. */
export function foreignImports(text: string): readonly string[] {
  const strings: string[] = [];
  const code = text.replace(WORDLESS, (word) => {
    if (word.startsWith("/")) return " ";
    return `"${strings.push(word.slice(1, -1)) - 1}"`;
  });
  const names = [...code.matchAll(IMPORTS)].map(([, ...groups]) => strings[Number(groups.find((group) => group !== undefined))]!);
  return [...new Set(names.filter((name) => !name.startsWith("node:")))];
}
