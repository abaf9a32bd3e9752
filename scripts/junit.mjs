/**
 * Reads the JUnit reports of Bun's and Deno's test runners. Pure.
 *
 * @module
 */

/**
 * One test: a case of the report. A group of tests is none of its own; Deno reports it like one.
 *
 * @typedef {{ file: string, name: string, outcome: "passed" | "failed" | "skipped" }} Case
 */

/**
 * The tests of a report, in its order.
 *
 * @param {string} xml
 * @returns {Case[]}
 */
export function parseReport(xml) {
  const cases = [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)].map(([, attributes, inside = ""]) => {
    const group = attribute(attributes, "file") === "" ? "" : attribute(attributes, "classname"); // Deno's classname is the file
    const name = attribute(attributes, "name");
    return {
      file: attribute(attributes, "file") || attribute(attributes, "classname"),
      name: group === "" ? name : `${group} > ${name}`,
      outcome: outcome(inside),
    };
  });
  return cases.filter(({ file, name }) => !cases.some((it) => it.name.startsWith(`${name} > `) && isInside(it.file, file)));
}

function outcome(inside) {
  if (/<(failure|error)\b/.test(inside)) return "failed";
  return /<skipped\b/.test(inside) ? "skipped" : "passed";
}

/** Deno puts tests of a group into a file of its own making. */
function isInside(file, outer) {
  return file === outer || file.startsWith("ext:");
}

const ENTITIES = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function attribute(text, name) {
  const value = text.match(new RegExp(`(?:^|\\s)${name}="([^"]*)"`))?.[1] ?? "";
  return value.replace(/&(#x[0-9a-f]+|#\d+|\w+);/gi, (whole, code) => {
    if (!code.startsWith("#")) return ENTITIES[code] ?? whole;
    return String.fromCodePoint(code[1] === "x" ? parseInt(code.slice(2), 16) : parseInt(code.slice(1), 10));
  });
}
