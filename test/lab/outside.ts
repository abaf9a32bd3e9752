/**
 * What is outside of a lab: servers that the nodes reach over their router.
 *
 * @module
 */

import { attempt, run } from "./command.ts";
import type { Lab } from "./lab.ts";

/** Where servers listen; they run in the network that this process is in. */
export const OUTSIDE = "192.168.99.1";
const ROUTER = "192.168.99.254";

/** Joins the network of this process to a lab's router. */
export async function joinOutside(lab: Lab): Promise<void> {
  await run(["ip", "-batch", "-"], {
    input: [
      `link add outside type veth peer name outside netns ${lab.router.namespace}`,
      `addr add ${OUTSIDE}/24 dev outside`,
      "link set outside up",
      `route add 192.168.0.0/16 via ${ROUTER}`,
    ].join("\n"),
  });
  await lab.router.ip(`addr add ${ROUTER}/24 dev outside`, "link set outside up");
}

/** Drops all packets between nodes and servers without a word, or lets them pass again. */
export async function cutOutside({ router }: Lab, cut: boolean): Promise<void> {
  for (const direction of ["-i", "-o"]) {
    await router.exec(["iptables", cut ? "-I" : "-D", "FORWARD", direction, "outside", "-j", "DROP"]);
  }
}

/** Leaves it: the network of this process is as it was. */
export async function leaveOutside(): Promise<void> {
  await attempt(["ip", "link", "del", "outside"]); // it may have gone with the router
}
