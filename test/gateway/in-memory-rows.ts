import type { RecordRow, RecordRows } from '../../src/key-pool/rows/record-store.ts'

export interface InMemoryRows extends RecordRows {
  /** How many rows were written or deleted so far, the mark among them. */
  written(): number
}

/** Rows that outlive an object in memory, as its SQLite does. */
export function createInMemoryRows(): InMemoryRows {
  const rows = new Map<string, RecordRow>()
  const archived = new Map<string, RecordRow>()
  let isOutdated = false
  let written = 0
  return {
    all: () => [...rows.values()],
    put(row) {
      rows.set(`${row.kind} ${row.id}`, row)
      written += 1
    },
    drop(kind, id) {
      rows.delete(`${kind} ${id}`)
      written += 1
    },
    isOutdated: () => isOutdated,
    setOutdated(value) {
      isOutdated = value
      written += 1
    },
    written: () => written,
    archive: {
      between: (kind, first, last) =>
        [...archived.values()]
          .filter((row) => row.kind === kind && row.id >= first && row.id <= last)
          .toSorted((a, b) => (a.id < b.id ? -1 : 1))
          .map(({ record }) => record),
      put(kind, id, record) {
        archived.set(`${kind} ${id}`, { kind, id, record })
        written += 1
      },
      dropBefore(kind, id) {
        for (const [name, row] of archived) {
          if (row.kind !== kind || row.id >= id) continue
          archived.delete(name)
          written += 1
        }
      },
    },
  }
}
