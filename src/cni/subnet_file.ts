/**
 * Reads the file that the agent leaves for the plugin: this node's subnets and MTU.
 *
 * @module
 */

import * as fs from "node:fs";
import { ConfigError, quote } from "../config/errors.ts";
import { parseSubnetEnv, type SubnetEnv } from "../config/subnet_env.ts";
import { CniError, CODE } from "./protocol.ts";

/**
 * Reads subnet.env.
 *
 * @throws {CniError} If it is absent or incomplete. The runtime may try again: the agent writes it once it holds a lease.
 */
export function readSubnetFile(path: string): SubnetEnv {
  try {
    const text = fs.readFileSync(path, "utf8");
    // Everything but "true" means no, so the start of "true" would too.
    if (/(^|\n)FLANNEL_IPMASQ=(t(ru?)?|f(a(ls?)?)?)?$/.test(text)) {
      throw new ConfigError(`The subnet file ${quote(path)} is half written`);
    }
    return parseSubnetEnv(text, path);
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    const said = code === undefined ? message : `Cannot read the subnet file ${quote(path)}: ${message}`;
    throw new CniError(CODE.tryAgainLater, said, "the agent writes it once it holds a lease: look at its log and status");
  }
}
