/**
 * Plugins for the lab: texts of files as an author would write them, and folders to put them into.
 *
 * @module
 */

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const SHIPPED = resolve(import.meta.dirname!, "../../backends");

/** A backend that reaches peers over their public IPs. It stands for itself: nothing of the repository is in it. */
export function byGateway(name = "by-gateway", odd: Readonly<Record<string, string>> = {}): string {
  const parts: Readonly<Record<string, string>> = {
    name: JSON.stringify(name),
    api: "1",
    type: JSON.stringify(name),
    options: "(value: unknown) => value",
    leaseData: "(value: unknown) => value",
    mtu: "(external: number) => external",
    links: "() => []",
    publish: "() => null",
    node: "() => []",
    peer: `(peer: { subnet: string; publicIp: string }, side: { link: string }) => ({
    path: ${JSON.stringify(name)},
    items: [{ kind: "route", dst: peer.subnet, to: { via: peer.publicIp, link: side.link, onlink: false }, src: null }],
  })`,
    ...odd,
  };
  return `export default {\n${Object.entries(parts).map(([key, text]) => `  ${key}: ${text},\n`).join("")}};\n`;
}

/** Makes a folder with a backend of ours that is not built in. @returns The agent's argument that names it. */
export function shipped(name: string): string {
  const file = `${name}.ts`;
  return `--plugin-dir=${pluginFolder("/run/backends", { [file]: readFileSync(join(SHIPPED, file), "utf8") })}`;
}

/** Puts plugins into a folder that only root can write, whatever the umask. */
export function pluginFolder(folder: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o755);
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), 0o644);
  }
  return folder;
}
