/**
 * The rights that a manifest gives.
 *
 * @module
 */

import { loadAll } from "js-yaml";

interface Role {
  readonly kind?: string;
  readonly rules?: readonly { readonly resources?: readonly string[]; readonly verbs: readonly string[] }[];
}

/** The rights of all roles in a manifest, sorted: resource and verb, as `nodes/status/patch`. */
export function rightsOf(manifest: string): string[] {
  const roles = (loadAll(manifest) as Role[]).filter(({ kind }) => kind === "ClusterRole" || kind === "Role");
  const rules = roles.flatMap(({ rules }) => rules ?? []);
  return rules.flatMap(({ resources, verbs }) =>
    (resources ?? []).flatMap((resource) => verbs.map((verb) => `${resource}/${verb}`))
  )
    .sort();
}
