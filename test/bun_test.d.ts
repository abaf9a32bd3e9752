/** The part of Bun's test module that `skips.ts` uses. */
declare module "bun:test" {
  export const mock: {
    /** Replaces a module for all that import it from now on. */
    module(specifier: string, make: () => unknown): void;
  };
}
