/**
 * The file that an author of a backend starts from. It works: peers are reached over their public addresses, as host-gw reaches them.
 *
 * @module
 */

/** The text of NAME.ts. */
export function template(name: string): string {
  return `/**
 * The backend "${name}": every peer is the gateway to its own subnet.
 *
 * Put this file into /etc/weft/backends and start the agent with --backend=${name}. Check it with: agent plugin check ${name}.ts
 * Only modules of the runtime ("node:…") can be imported. For completion and checking while you write, install the agent's npm package
 * (docs/write-a-backend.md says where it comes from), and put
 *   import type { Backend } from "weft";
 * here and \`satisfies Backend<Options, Data>\` behind the object; "import type" is gone when the file is run.
 */

/** The Backend object of net-conf.json. */
interface Options {
  readonly Type?: string;
}

/** What nodes publish, so that others can reach them. */
type Data = null;

/** What planners are told of this node, and of another one. Planners compute: they keep nothing, and read no clock, file or network. */
interface Side {
  readonly link: string;
  onLink(ip: string): string | null;
}
interface Peer {
  readonly subnet: string;
  readonly publicIp: string;
  readonly data: Data;
}

export default {
  name: ${JSON.stringify(name)},
  api: 1,
  type: ${JSON.stringify(name)},

  /** Checks the Backend object: returns what planners get, or throws what is wrong. */
  options(value: unknown): Options {
    return value as Options;
  },

  /** Checks what another node publishes, which may be anything. */
  leaseData(value: unknown): Data {
    if (value !== null && value !== undefined) throw new Error("nothing is expected");
    return null;
  },

  /** The MTU for pods: the device's, less what the way adds to each packet. */
  mtu(external: number): number {
    return external;
  },

  /** The devices that node() asks for. */
  links(): string[] {
    return [];
  },

  /** What other nodes must know of this one, as JSON. */
  publish(): Data {
    return null;
  },

  /** What this node needs: devices, addresses. */
  node(): unknown[] {
    return [];
  },

  /** What a peer needs. A peer that can not be reached waits with a reason. */
  peer({ subnet, publicIp }: Peer, side: Side) {
    const segment = side.onLink(publicIp);
    const to = { via: publicIp, link: segment ?? side.link, onlink: false };
    return {
      path: ${JSON.stringify(name)},
      items: [{ kind: "route", dst: subnet, to, src: null }],
      ...(segment === null && { pending: \`\${publicIp} is not on a segment of this node\` }),
    };
  },
};
`;
}
