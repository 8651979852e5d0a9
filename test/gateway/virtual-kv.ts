import type { VirtualTime } from './virtual-time.ts'

/** How the namespace treats calls from now on. */
export type KvState = 'works' | 'cannot_be_read' | 'cannot_be_written' | 'down'

export interface VirtualKv {
  readonly namespace: KVNamespace
  /** The stored texts by name. */
  readonly entries: Map<string, string>
  /** Every name that was read. `writes` holds the written names. Failed calls are included. */
  readonly reads: string[]
  readonly writes: string[]
  /** @param afterMs how long an answer takes */
  be(state: KvState, afterMs?: number): void
}

/** The part of a KV namespace that a cache of JSON needs. */
export function createVirtualKv(time: Pick<VirtualTime, 'timer'>): VirtualKv {
  const entries = new Map<string, string>()
  const reads: string[] = []
  const writes: string[] = []
  let state: KvState = 'works'
  let takesMs = 0

  const answer = async (breaks: KvState): Promise<void> => {
    if (takesMs > 0) await new Promise<void>((resolve) => void time.timer(takesMs, resolve))
    if (state === breaks || state === 'down') throw new Error('KV GET failed: 503')
  }
  const namespace: Pick<KVNamespace, 'put' | 'delete'> & {
    get(name: string, type: 'json'): Promise<unknown>
  } = {
    async get(name) {
      reads.push(name)
      await answer('cannot_be_read')
      const text = entries.get(name)
      return text === undefined ? null : JSON.parse(text)
    },
    async put(name, value) {
      writes.push(name)
      await answer('cannot_be_written')
      entries.set(name, String(value))
    },
    async delete(name: string) {
      writes.push(name)
      await answer('cannot_be_written')
      entries.delete(name)
    },
  }
  return {
    // The tested code uses no other method of a namespace.
    namespace: namespace as KVNamespace,
    entries,
    reads,
    writes,
    be(next, afterMs = 0) {
      state = next
      takesMs = afterMs
    },
  }
}
