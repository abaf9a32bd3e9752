/**
 * Finds the file of a plugin: the backend NAME is in NAME.ts, NAME.js or NAME.mjs, in one of the folders.
 *
 * @module
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BackendError } from "../model/backend_port.ts";

/** What a backend may be called. The name becomes a file's, so nothing else may be in it. */
export const NAME = /^[a-z][a-z0-9-]{0,62}$/;
const ENDINGS = [".ts", ".js", ".mjs"];

/**
 * The path of a plugin; `null` if there is none.
 *
 * @throws {BackendError} If several files have the name, or a folder can not be read.
 */
export function findPlugin(name: string, folders: readonly string[]): string | null {
  const found = NAME.test(name) ? pluginsNamed(folders, [name]) : [];
  if (found.length > 1) {
    const paths = found.map((path) => `"${path}"`).join(" and ");
    throw new BackendError(`There is more than one file for the backend "${name}": ${paths}; remove all but one`);
  }
  return found[0] ?? null;
}

/**
 * The paths of all plugins that have one of some names.
 *
 * @throws {BackendError} If a folder can not be read.
 */
export function pluginsNamed(folders: readonly string[], names: readonly string[]): string[] {
  const wanted = new Set(names.flatMap((name) => ENDINGS.map((ending) => name + ending)));
  return folders.flatMap((folder) => list(folder).filter((file) => wanted.has(file)).sort().map((file) => join(folder, file)));
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return [];
    throw new BackendError(`Cannot read the folder of plugins "${folder}": ${message}`);
  }
}
