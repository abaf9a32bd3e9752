/**
 * The directrouting backend: each peer directly where the kernel says it is on-link, else through vxlan.
 *
 * It publishes what vxlan publishes, so that flannel's nodes and ours understand each other.
 *
 * @module
 */

import { vxlanBackend } from "./vxlan.ts";

export default vxlanBackend("directrouting", () => true);
