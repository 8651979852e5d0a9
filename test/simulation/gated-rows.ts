import type { RecordRows } from '../../src/key-pool/rows/record-store.ts'
import { createInMemoryRows } from '../gateway/in-memory-rows.ts'
import type { VirtualTime } from '../gateway/virtual-time.ts'

/** Rows whose writes reach the disk some milliseconds later, as those of an object's storage do. */
export interface GatedRows {
  readonly rows: RecordRows
  /** The output gate: settles once all that has been written so far is on disk. */
  whenDurable(): Promise<void>
  /** What is not on disk is lost, and with it the answers that wait for it. */
  crash(): void
  /** What is not on disk is written before the object goes. */
  settle(): void
  /** Called once, in the moment after the next write for which answers wait, before it is on disk. */
  atNextWrite(callback: () => void): void
  /** How often a crash has lost something that was written. */
  losses(): number
  /** How many rows were written or deleted so far. */
  written(): number
}

/** What was written in one step. It is stored together, or not at all. */
interface Batch {
  readonly writes: (() => void)[]
  durableAtMs: number
  /** Whether answers wait for it. */
  gates: boolean
}

/** @param diskMs how long the next batch takes to be on disk */
export function createGatedRows(time: VirtualTime, diskMs: () => number): GatedRows {
  const disk = createInMemoryRows()
  let batches: Batch[] = []
  let open: Batch | null = null
  let waiting: { readonly after: Batch; readonly resolve: () => void }[] = []
  let next: (() => void) | null = null
  let losses = 0

  const confirm = (batch: Batch) => {
    if (!batches.includes(batch)) return
    // Batches reach the disk in the order in which they were written.
    for (const write of batch.writes) write()
    batches = batches.filter((other) => other !== batch)
    for (const { after, resolve } of waiting) if (after === batch) resolve()
    waiting = waiting.filter(({ after }) => after !== batch)
  }
  const write = (carryOut: () => void, gates: boolean) => {
    if (open === null) {
      const latest = batches.at(-1)?.durableAtMs ?? 0
      const durableAtMs = Math.max(latest, time.nowMs() + diskMs())
      const batch: Batch = { writes: [], durableAtMs, gates: false }
      open = batch
      batches.push(batch)
      time.objectTimer(durableAtMs - time.nowMs(), () => confirm(batch))
      // A step ends before any promise settles.
      queueMicrotask(() => {
        open = null
      })
    }
    open.writes.push(carryOut)
    open.gates ||= gates
    if (gates && next !== null) {
      time.objectTimer(0, next)
      next = null
    }
  }
  return {
    rows: {
      all: disk.all,
      put: (row) => write(() => disk.put(row), true),
      drop: (kind, id) => write(() => disk.drop(kind, id), true),
      isOutdated: disk.isOutdated,
      setOutdated: (isOutdated) => write(() => disk.setOutdated(isOutdated), !isOutdated),
      archive: {
        between: disk.archive.between,
        put: (...row) => write(() => disk.archive.put(...row), true),
        dropBefore: (...ids) => write(() => disk.archive.dropBefore(...ids), true),
      },
    },
    async whenDurable() {
      const after = batches.findLast(({ gates }) => gates)
      if (after === undefined) return
      await new Promise<void>((resolve) => waiting.push({ after, resolve }))
    },
    crash() {
      if (batches.length > 0) losses += 1
      batches = []
      open = null
      waiting = []
    },
    settle() {
      open = null
      for (const batch of [...batches]) confirm(batch)
    },
    atNextWrite(callback) {
      next = callback
    },
    losses: () => losses,
    written: disk.written,
  }
}
