/**
 * A machine image with the agent and the C library, and nothing else: no shell, no runtime, no package manager.
 *
 * @module
 */

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "./command.ts";
import { agentCommand } from "./paths.ts";

/** What is mounted from the machine: what the kernel tells of processes, and the files of the lab. */
const MOUNTED = ["/proc", "/run"];

/** The root folder of an image. It is gone with the lab's namespaces. */
export class Image {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /** Makes one. @param root A folder below `/run` that does not exist yet. */
  static async create(root: string): Promise<Image> {
    const [binary] = agentCommand("binary") as [string];
    const image = new Image(root);
    for (const file of await libraries(binary)) image.#add(file, file);
    image.#add(binary, "/agent");
    for (const folder of MOUNTED) {
      mkdirSync(join(root, folder), { recursive: true });
      await run(["mount", "--rbind", folder, join(root, folder)]);
    }
    return image;
  }

  /** The agent's command line in it. */
  get command(): string[] {
    return ["chroot", this.root, "/agent"];
  }

  /** Writes a file at a path in the image. */
  write(path: string, text: string): void {
    writeFileSync(this.#place(path), text);
  }

  #add(file: string, path: string): void {
    copyFileSync(file, this.#place(path));
  }

  #place(path: string): string {
    const place = join(this.root, path);
    mkdirSync(dirname(place), { recursive: true, mode: 0o755 });
    return place;
  }
}

/** The shared libraries of a program, and what loads them. */
async function libraries(program: string): Promise<string[]> {
  return [...(await run(["ldd", program])).matchAll(/\/\S+(?= \()/g)].map(([path]) => path);
}
