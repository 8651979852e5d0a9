import { shown } from '../fields.ts'

/** The application of Cloudflare Access that opens the operators' pages. */
export interface Access {
  /** Who signs its tokens, which is also where its public keys are: an origin without a slash. */
  readonly issuer: string
  /** The application's audience tag. */
  readonly audience: string
}

interface Read {
  readonly value: Access | null
  readonly faults: readonly string[]
}

/** Reads `ACCESS_TEAM` and `ACCESS_AUD`. One without the other would look like a lock and be none. */
export function readAccess(team: unknown, audience: unknown): Read {
  const isTeamUnset = isUnset(team)
  const isAudienceUnset = isUnset(audience)
  if (isTeamUnset && isAudienceUnset) return { value: null, faults: [] }
  const fault = (text: string): Read => ({ value: null, faults: [text] })
  if (isTeamUnset) return fault('ACCESS_TEAM: must be set too, since ACCESS_AUD is')
  if (isAudienceUnset) return fault('ACCESS_AUD: must be set too, since ACCESS_TEAM is')
  // The name becomes a host to which nothing secret goes, but from which keys come.
  if (typeof team !== 'string' || !/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(team)) {
    const example = '"acme" for acme.cloudflareaccess.com'
    return fault(`ACCESS_TEAM: must be the team's name, such as ${example}, given ${shown(team)}`)
  }
  if (typeof audience !== 'string' || !/^[0-9a-f]{64}$/.test(audience)) {
    return fault(
      `ACCESS_AUD: must be the application's audience tag, 64 hexadecimal digits, given ${shown(audience)}`,
    )
  }
  return { value: { issuer: `https://${team}.cloudflareaccess.com`, audience }, faults: [] }
}

function isUnset(value: unknown): boolean {
  return value === undefined || (typeof value === 'string' && value.trim() === '')
}
