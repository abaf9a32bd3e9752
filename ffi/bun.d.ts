/** The few parts of Bun that the driver uses, so that `deno check` can check it. Source: bun-types 1.4. */

declare module "bun:ffi" {
  export type FFIType = "ptr" | "i32" | "u64" | "void";
  export type Pointer = number & { readonly __pointer: never };
  export class CString extends String {
    constructor(pointer: Pointer);
  }
  export function dlopen(
    path: string,
    symbols: Record<string, { args: readonly FFIType[]; returns: FFIType }>,
  ): { readonly symbols: Record<string, (...parameters: unknown[]) => unknown> };
  export function ptr(memory: Uint8Array): Pointer;
}

declare const Bun: { readonly embeddedFiles: readonly (Blob & { readonly name: string })[] };
