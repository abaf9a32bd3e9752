/**
 * GC and STATUS: the commands about a whole network.
 *
 * @module
 */

import { type Call, delegateOf, parseState } from "./attachment.ts";
import { callDelegate } from "./delegate.ts";
import { canonicalJson, type DelegateConf, delegateConf } from "./delegate_conf.ts";
import type { NetConf } from "./netconf.ts";
import { type Attachment, CniError, CODE } from "./protocol.ts";
import { type Known, listState, removeState } from "./state.ts";
import { readSubnetFile } from "./subnet_file.ts";

/** The interface that a file of flannel's plugin stands for: the one that every Kubernetes runtime uses. */
const USUAL_INTERFACE = "eth0";

/**
 * Detaches all containers of the network that the runtime does not name any more, then lets the delegate do the same.
 *
 * @throws {CniError} If something could not be removed; everything else was.
 */
export async function collectGarbage(call: Call): Promise<void> {
  const { conf } = call;
  const valid = conf.validAttachments;
  const known = attachmentsOf(conf);
  if (valid === null) {
    // Taken for an empty list, that would detach every container of the node. libcni leaves it out after it has detached them all.
    if (known.length === 0) return;
    throw new CniError(CODE.invalidConfig, 'Network configuration: "cni.dev/valid-attachments" is missing, which GC needs');
  }
  const errors: string[] = [];
  for (const stale of known.filter((each) => !isValid(each, valid))) await noting(errors, () => detach(call, stale));
  await noting(errors, () => forwardGarbageCollection(call, valid));
  if (errors.length > 0) throw new CniError(CODE.delegateFailed, `GC could not remove everything: ${errors.join("; ")}`);
}

/** An attachment, and what ADD called its delegate with. */
type Stored = Known & { readonly stored: DelegateConf };

function attachmentsOf(conf: NetConf): Stored[] {
  return listState(conf.dataDir).flatMap((known) => {
    const stored = parseState(known.text);
    return stored?.name === conf.name ? [{ ...known, stored }] : [];
  });
}

function isValid(known: Known, valid: readonly Attachment[]): boolean {
  return valid.some(({ containerId, ifname }) => {
    return containerId === known.containerId && (known.ifname === null || ifname === known.ifname);
  });
}

async function detach(call: Call, { containerId, ifname, stored }: Stored): Promise<void> {
  const attachment = { containerId, ifname: ifname ?? USUAL_INTERFACE };
  const env = { ...call.io.env, CNI_CONTAINERID: containerId, CNI_IFNAME: attachment.ifname, CNI_NETNS: "" };
  const delegate = delegateOf({ ...call, io: { ...call.io, env } }, stored.type);
  await callDelegate(delegate, "DEL", canonicalJson(stored));
  removeState(call.conf.dataDir, attachment);
}

/** A delegate that is older than GC has nothing to collect that its DEL did not. */
async function forwardGarbageCollection(call: Call, valid: readonly Attachment[]): Promise<void> {
  const conf = delegateConf(call.conf, readSubnetFile(call.conf.subnetFile));
  const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
  try {
    await callDelegate(delegateOf(call, conf.type), "GC", canonicalJson({ ...conf, "cni.dev/valid-attachments": attachments }));
  } catch (error) {
    if (!isTooOld(error)) throw error;
  }
}

/** What plugins say that do not know a command: of its version, of the command, or of what the others need. */
function isTooOld(error: unknown): boolean {
  const codes: readonly number[] = [CODE.incompatibleVersion, CODE.invalidEnvironment, CODE.unknownContainer];
  return error instanceof CniError && error.foreign !== null && codes.includes(error.code);
}

async function noting(errors: string[], action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    errors.push((error as Error).message);
  }
}

/**
 * Says whether ADD can be served: the node has a subnet, and the delegate is there and ready.
 *
 * @throws {CniError} If not, with the reason.
 */
export async function status(call: Call): Promise<void> {
  try {
    const conf = delegateConf(call.conf, readSubnetFile(call.conf.subnetFile));
    await callDelegate(delegateOf(call, conf.type), "STATUS", canonicalJson(conf));
  } catch (error) {
    if (!(error instanceof CniError) || error.code === CODE.unavailable || error.code === CODE.limitedConnectivity) throw error;
    const reason = isTooOld(error) ? `the delegate does not speak CNI ${call.conf.cniVersion} (${error.message})` : error.message;
    throw new CniError(unavailableCode(call), `Containers can not be attached: ${reason}`, error.details);
  }
}

/** Without a subnet nobody looks after the routes of the containers that are there. */
function unavailableCode(call: Call): number {
  try {
    readSubnetFile(call.conf.subnetFile);
    return CODE.unavailable;
  } catch {
    return attachmentsOf(call.conf).length > 0 ? CODE.limitedConnectivity : CODE.unavailable;
  }
}
