/**
 * What checks values that come from outside: a schema of any library that follows the Standard Schema, or a plain function.
 *
 * @module
 */

import { foldKeys } from "./fold_keys.ts";

/** Anything that follows the Standard Schema (valibot, zod, arktype and others do). Source: standardschema.dev, version 1. */
export interface StandardSchema<T> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<T> | Promise<SchemaResult<T>>;
    readonly types?: { readonly input: unknown; readonly output: T } | undefined;
  };
}

/** What a schema says of a value. */
export type SchemaResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | {
    readonly issues: readonly {
      readonly message: string;
      readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
    }[];
  };

/** A standard schema, or a function that returns the checked value, with defaults filled in, and throws what is wrong with it. */
export type Schema<T> = StandardSchema<T> | ((value: unknown) => T);

/**
 * Checks a value with a schema.
 *
 * @returns The checked value, or the first thing that is wrong with it.
 *
 * @example A function
 * ```ts
 * import { checkWith } from "./schema.ts";
 * import assert from "node:assert/strict";
 *
 * const port = (value: unknown) => {
 *   if (typeof value !== "number") throw new Error("it is no port");
 *   return value;
 * };
 * assert.deepEqual(checkWith(port, 8472), { value: 8472 });
 * assert.deepEqual(checkWith(port, "x"), { issue: "it is no port" });
 * ```
 */
export function checkWith<T>(schema: Schema<T>, value: unknown): { readonly value: T } | { readonly issue: string } {
  const result = resultOf(schema, value);
  if (result instanceof Promise) return { issue: "the schema answers with a promise" };
  if (result.issues === undefined) return { value: result.value };
  const issue = result.issues[0]!;
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return { issue: path === "" ? issue.message : `${path}: ${issue.message}` };
}

function resultOf<T>(schema: Schema<T>, value: unknown): SchemaResult<T> | Promise<SchemaResult<T>> {
  if ("~standard" in schema) return schema["~standard"].validate(value);
  try {
    const checked = schema(value);
    return checked instanceof Promise ? checked : { value: checked };
  } catch (error) {
    return { issues: [{ message: error instanceof Error ? error.message : String(error) }] };
  }
}

/**
 * Checks a `Backend` object of net-conf.json. Where the schema tells which keys it knows (valibot's does), they count whatever their
 * case, and others are left out.
 */
export function checkOptions<T>(
  schema: Schema<T>,
  given: Readonly<Record<string, unknown>>,
): { readonly value: T } | { readonly issue: string } {
  return checkWith(schema, "entries" in schema ? foldKeys(given, Object.keys(schema.entries as object)).value : given);
}
