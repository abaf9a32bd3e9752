/**
 * The backends that this agent has, and those that it finds in the folders of plugins.
 *
 * @module
 */

import directrouting from "../backends/directrouting.ts";
import hostGw from "../backends/host_gw.ts";
import vxlan from "../backends/vxlan.ts";
import type { Backend } from "./mod.ts";
import { BackendError, type Backends } from "./model/backend_port.ts";
import type { Level } from "./model/effects.ts";
import { checkOptions } from "./model/schema.ts";
import type { Subject } from "./plugins/check/bench.ts";
import { findPlugin, pluginsNamed } from "./plugins/find.ts";
import type { OpenPlugin } from "./plugins/plugin.ts";
import { inProcess } from "./reconcile/in_process.ts";

/** The built-in backends; nothing else in the core knows one by name. */
export const BACKENDS = [vxlan, hostGw, directrouting] as const as unknown as readonly Backend[];

/** The names of devices that flanneld's backends make, also of those that are not built in here. */
const FLANNEL_DEVICES = /^(flannel(-v6)?\.\d+|flannel\.ipip|flannel-wg(-v6)?)$/;

/** The names of devices that may have been left on a node. */
export const DEVICES: readonly RegExp[] = [FLANNEL_DEVICES, ...BACKENDS.flatMap(({ devices }) => devices ?? [])];

/** Where plugins are looked for, and who is told of what is odd there. */
export interface PluginOptions {
  readonly folders: readonly string[];
  readonly log: (level: Level, message: string) => void;
}

/** All backends: the built-in ones, and files of the folders. A folder is looked into only for a name that is asked for. */
export function openBackends({ folders, log }: PluginOptions): Backends {
  for (const path of pluginsNamed(folders, BACKENDS.map(({ name }) => name))) {
    log("warning", `"${path}" is not used: a backend of this name is built in; give the file and the backend in it another name`);
  }
  return {
    devices: DEVICES,
    async open(request) {
      const { name, by, given, source } = request;
      const backend = BACKENDS.find((backend) => backend.name === name);
      if (backend !== undefined) {
        const checked = checkOptions(backend.options, given);
        if ("issue" in checked) throw new BackendError(`The Backend in ${source} is wrong for ${name}: ${checked.issue}`);
        return inProcess(backend, checked.value);
      }
      const path = findPlugin(name, folders);
      if (path === null) throw new BackendError(absence(name, by, folders));
      const { openPlugin } = await import("./plugins/plugin.ts");
      return await openPlugin({ ...request, path, log, worker: new URL("./plugins/worker.ts", import.meta.url) });
    },
  };
}

/**
 * A file, to be checked as a backend of a name.
 *
 * @throws {BackendError} By `open`, if it can not be loaded.
 */
export function pluginSubject(name: string, path: string): Subject {
  const worker = new URL("./plugins/worker.ts", import.meta.url);
  const request = { name, path, worker, by: "the check", given: {}, source: "its example", log: () => {}, strict: true };
  return {
    name,
    async open(macs, changed) {
      const { openPlugin } = await import("./plugins/plugin.ts");
      return await openPlugin({ ...request, macs, changed });
    },
    example: (port, peers, family) => (port as OpenPlugin).example({ peers, family }),
  };
}

function absence(name: string, by: string, folders: readonly string[]): string {
  const names = BACKENDS.map(({ name }) => name).join(", ");
  const looked = folders.map((folder) => `"${folder}"`).join(" and ");
  return `There is no backend ${JSON.stringify(name)} (${by}); there are: ${names}${
    looked && `, and no file ${name}.ts, .js or .mjs is in ${looked}`
  }`;
}
