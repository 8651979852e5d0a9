/** One change that an operator has made. No secret is in it. */
export interface AuditEntry {
  readonly number: number
  readonly atMs: number
  /** By what the operator signed in. */
  readonly by: string
  /** What was done, in one word of the admin API. */
  readonly what: string
  /** To what it was done. */
  readonly target: string
}

/** The last changes, the oldest first. */
export interface Audit {
  readonly entries: AuditEntry[]
  /** Numbers of entries that have to be written, or, if they are gone, dropped. */
  readonly changed: Set<number>
}

/** Enough for years of a careful operator, and for an afternoon of a script. */
const MAX_ENTRIES = 1_000

export function createAudit(): Audit {
  return { entries: [], changed: new Set() }
}

/** Notes a change. The oldest entry makes room. */
export function noteInAudit(audit: Audit, entry: Omit<AuditEntry, 'number'>): void {
  const number = (audit.entries.at(-1)?.number ?? 0) + 1
  audit.entries.push({ ...entry, number })
  audit.changed.add(number)
  if (audit.entries.length > MAX_ENTRIES) {
    const oldest = audit.entries.shift()
    if (oldest !== undefined) audit.changed.add(oldest.number)
  }
}

/** Puts the stored entries back. */
export function restoreAudit(audit: Audit, entries: readonly AuditEntry[]): void {
  audit.entries.push(...entries.toSorted((a, b) => a.number - b.number))
}

/** What has to be written: null for an entry that is gone. */
export function takeAudit({ entries, changed }: Audit): ReadonlyMap<string, AuditEntry | null> {
  const taken = new Map(
    [...changed].map((number) => [
      String(number),
      entries.find((entry) => entry.number === number) ?? null,
    ]),
  )
  changed.clear()
  return taken
}
