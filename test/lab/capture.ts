/**
 * What goes over a wire of the lab, listened to by tcpdump(8).
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Daemon, until } from "./command.ts";
import type { Host } from "./host.ts";

/** A capture that goes on until it is stopped. */
export class Capture {
  readonly #daemon: Daemon;
  readonly #file: string;

  private constructor(daemon: Daemon, file: string) {
    this.#daemon = daemon;
    this.#file = file;
  }

  /** Listens on a device of a host. @returns The capture, once it listens. */
  static async start(host: Host, link: string): Promise<Capture> {
    const file = join(host.dir, `${link}.pcap`);
    const daemon = host.spawn(["tcpdump", "-n", "-i", link, "-s", "0", "--immediate-mode", "-U", "-Z", "root", "-w", file], {
      log: "tcpdump",
    });
    await until(`tcpdump listens on ${link}`, () => /listening on/.test(daemon.text()), { state: () => daemon.text() });
    return new Capture(daemon, file);
  }

  /** Ends it. @returns The whole packets, one after the other. */
  async stop(): Promise<Buffer> {
    await this.#daemon.stop("SIGINT");
    return readFileSync(this.#file);
  }
}
