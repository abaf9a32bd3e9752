/**
 * Runs a planner where the clock, chance and the network are out of reach, to find those that are not pure.
 *
 * @module
 */

/** What a planner may not use. Whatever a runtime lacks is left out. */
const FORBIDDEN: readonly (readonly [holder: object | undefined, name: string, what: string])[] = [
  [globalThis.Date, "now", "reads the clock"],
  [globalThis.performance, "now", "reads the clock"],
  [globalThis.Math, "random", "draws lots"],
  [globalThis.crypto, "getRandomValues", "draws lots"],
  [globalThis.crypto, "randomUUID", "draws lots"],
  [globalThis, "fetch", "reaches out to the network"],
  [globalThis, "setTimeout", "waits"],
  [globalThis, "setInterval", "waits"],
];

/** Calls a planner. @throws {Error} If it does what a planner may not. */
export function withTraps<T>(planner: () => T): T {
  const undo: (() => void)[] = [];
  const replace = (holder: object, name: string, value: unknown) => {
    const before = Object.getOwnPropertyDescriptor(holder, name);
    Object.defineProperty(holder, name, { value, configurable: true, writable: true });
    undo.push(() =>
      before === undefined ? delete (holder as Record<string, unknown>)[name] : Object.defineProperty(holder, name, before)
    );
  };
  const refuse = (name: string, what: string) => {
    throw new Error(`a planner must answer the same for the same, but this one ${what} (${name}): effects may do that`);
  };
  const RealDate = globalThis.Date;
  try {
    for (const [holder, name, what] of FORBIDDEN) {
      if (holder !== undefined && name in holder) {
        replace(holder, name, () => refuse(name, what));
      }
    }
    replace(
      globalThis,
      "Date",
      new Proxy(RealDate, {
        apply: () => refuse("Date", "reads the clock"),
        construct: (target, args) =>
          args.length === 0 ? refuse("Date", "reads the clock") : Reflect.construct(target, args) as object,
      }),
    );
    return planner();
  } finally {
    undo.reverse().forEach((step) => step());
  }
}
