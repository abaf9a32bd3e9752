/**
 * The lint plugin that keeps imports going one way and the runtimes' own names at the edges.
 *
 * Owns the table of section 3 of DESIGN.md: which layer may import which, `import type` included. A layer is a folder or a single
 * file (`src/model/`, `src/agent.ts`); one that has no row may not exist. It looks at the text of one file at a time and never
 * follows an import.
 *
 * @module
 */

/** What one layer may use. Absent means forbidden. */
interface Row {
  /** Layers, by name. */
  readonly layers?: readonly string[];
  /** Layers of which only types may be imported. */
  readonly types?: readonly string[];
  /** Packages, by name; a subpath of one is the package. */
  readonly packages?: readonly string[];
  /** Modules of the runtime: all, or some by name; tests have all. Pure layers have none: whatever they need is handed in. */
  readonly node?: true | readonly string[];
  /** The names Deno, Bun and process, and their modules. */
  readonly runtime?: true;
  /** It is loaded where nothing else of ours is; its tests are not. */
  readonly alone?: true;
  /** Import of a path that is only known at run time. */
  readonly computed?: true;
}

const FREE = "anything";

const TABLE: Readonly<Record<string, Row | typeof FREE>> = {
  "src/model": {},
  "src/mod": { layers: ["src/model"] },
  "src/config": { layers: ["src/model"], packages: ["valibot"], node: true },
  "src/stores": { layers: ["src/model", "src/config"], types: ["ffi"], packages: ["valibot", "js-yaml"], node: true },
  "src/netlink": { layers: ["src/model"], types: ["ffi"], node: ["node:os"] }, // the numbers of errors
  "src/kernel": { layers: ["src/netlink", "src/model"] },
  "src/reconcile": { layers: ["src/model"] },
  "src/traffic": { layers: ["src/model"], node: true },
  "src/status": { layers: ["src/model"], packages: ["hono", "@hono/node-server"], node: true },
  "src/cni": { layers: ["src/model", "src/config"], packages: ["valibot"], node: true },
  "src/plugins": {
    layers: ["src/mod", "src/model", "src/config", "src/reconcile", "backends"],
    packages: ["valibot"],
    node: true,
    computed: true,
  },
  "src/agent": {
    layers: ["src/model", "src/mod", "src/config", "src/reconcile", "src/traffic"],
    types: ["src/stores", "src/kernel"],
  },
  "src/cli": FREE,
  backends: { layers: ["src/mod"], packages: ["valibot"], node: true }, // for their effects; planners are pure
  // Those that are not built in stand alone: nothing of ours is there when they are loaded.
  "backends/alloc": { alone: true, types: ["src/mod"] },
  "backends/extension": { alone: true, types: ["src/mod"], node: true, runtime: true },
  "backends/ipip": { alone: true, types: ["src/mod"] },
  "backends/wireguard": { alone: true, types: ["src/mod"], node: true, runtime: true },
  ffi: { node: true, runtime: true },
  scripts: FREE,
  test: FREE,
  bench: FREE,
};

const ROOT = new URL("..", import.meta.url).pathname;
const RUNTIME_NAMES = new Set(["Deno", "Bun", "process"]);

/** One import, in whatever form it was written. */
interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
}

/** What is said of an import that the table forbids, or `null`. */
function judge(file: string, { specifier, typeOnly }: Import): string | null {
  const path = specifier.startsWith(".") ? new URL(specifier, `file:///${file}`).pathname.slice(1) : null;
  const layer = layerOf(file);
  const row = TABLE[layer];
  const isTest = file.endsWith("_test.ts");
  if (row === FREE) return null;
  if (row === undefined) return `${layer} has no row in the table of test/layers.ts`;
  if (path === null) return judgePackage(layer, isTest ? { ...row, node: true } : row, specifier);
  const other = layerOf(path);
  const known = other === layer || row.layers?.includes(other) ||
    (isTest && (other === "test" || (row.alone && other === "src/mod")));
  if (known || (typeOnly && row.types?.includes(other))) return null;
  return row.types?.includes(other) ? `${layer} may import only types of ${other}` : `${layer} may not import ${other}`;
}

function judgePackage(layer: string, row: Row, specifier: string): string | null {
  const runtimeModule = /^(node:)?process$|^bun(:|$)/.test(specifier);
  if (runtimeModule) return row.runtime ? null : `${layer} may not import ${specifier}: it belongs to ffi and src/cli.ts`;
  const node = row.node === true || row.node?.includes(specifier);
  if (specifier.startsWith("node:")) return node ? null : `${layer} may not import ${specifier}: have it handed in`;
  const name = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
  return row.packages?.includes(name) ? null : `${layer} may not import the package ${name}`;
}

/**
 * The layer of a path from the repository's root: `src/x.ts`, `src/x_test.ts` and `src/x/y.ts` are all of `src/x`. Elsewhere it is the
 * folder, unless the file has a row of its own.
 */
function layerOf(path: string): string {
  const [top = "", second = ""] = path.split("/");
  const single = `${top}/${second.replace(/(_test)?\.ts$/, "")}`;
  return top === "src" || single in TABLE ? single : top;
}

function mayNameRuntime(file: string): boolean {
  const row = TABLE[layerOf(file)];
  return row === FREE || row?.runtime === true;
}

/** The path from the repository's root, or `null` for a file outside of it. */
function pathOf(context: Deno.lint.RuleContext): string | null {
  const { filename } = context;
  return filename.startsWith(ROOT) ? filename.slice(ROOT.length) : null;
}

const imports: Deno.lint.Rule = {
  create(context) {
    const file = pathOf(context);
    if (file === null) return {};
    const check = (node: Deno.lint.Node, specifier: string, typeOnly: boolean) => {
      const message = judge(file, { specifier, typeOnly });
      if (message !== null) context.report({ node, message });
    };
    return {
      ImportDeclaration: (node) => check(node, node.source.value, onlyTypes(node)),
      ExportAllDeclaration: (node) => check(node, node.source.value, node.exportKind === "type"),
      ExportNamedDeclaration: (node) => node.source && check(node, node.source.value, node.exportKind === "type"),
      TSExternalModuleReference: (node) => check(node, node.expression.value, false),
      TSImportType({ argument }) {
        if (argument.type !== "TSLiteralType" || argument.literal.type !== "Literal") return;
        check(argument, String(argument.literal.value), true);
      },
      ImportExpression(node) {
        if (node.source.type === "Literal") return check(node, String(node.source.value), false);
        const row = TABLE[layerOf(file)];
        if (row === FREE || row?.computed) return;
        context.report({ node, message: `${layerOf(file)} may not import what is only known at run time` });
      },
    };
  },
};

function onlyTypes(node: Deno.lint.ImportDeclaration): boolean {
  if (node.importKind === "type") return true;
  const each = node.specifiers.map((it) => it.type === "ImportSpecifier" && it.importKind === "type");
  return each.length > 0 && each.every(Boolean);
}

const runtime: Deno.lint.Rule = {
  create(context) {
    const file = pathOf(context);
    if (file === null || mayNameRuntime(file)) return {};
    const seen = new Set<number>(); // the key and the value of `{ process }` are two nodes in one place
    const report = (node: Deno.lint.Node, name: string) => {
      if (seen.has(node.range[0])) return;
      seen.add(node.range[0]);
      context.report({ node, message: `${name} may be named only in ffi, src/cli.ts, scripts, test and bench` });
    };
    return {
      Identifier(node) {
        if (RUNTIME_NAMES.has(node.name) && !isMember(node)) report(node, node.name);
      },
      Literal(node) { // globalThis["Bun"] and "Bun" in globalThis
        if (typeof node.value !== "string" || !RUNTIME_NAMES.has(node.value)) return;
        if (/globalThis/.test(context.sourceCode.getText(node.parent as Deno.lint.Node))) report(node, node.value);
      },
    };

    /** Whether it names a part of something else: `x.process`, `{ process: 1 }`, `interface X { process: Y }`. */
    function isMember(node: Deno.lint.Identifier): boolean {
      const parent = node.parent as Deno.lint.Node;
      if (parent.type === "MemberExpression") {
        const named = parent.property.range[0] === node.range[0] && !parent.computed;
        return named && !/globalThis/.test(context.sourceCode.getText(parent.object));
      }
      const isKey = parent.type === "Property" || parent.type === "PropertyDefinition" || parent.type === "MethodDefinition" ||
        parent.type === "TSPropertySignature" || parent.type === "TSMethodSignature";
      if (parent.type === "Property" && parent.shorthand) return false;
      return isKey && !parent.computed && parent.key.range[0] === node.range[0];
    }
  },
};

export default { name: "layers", rules: { imports, runtime } } satisfies Deno.lint.Plugin;
