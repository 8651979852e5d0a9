import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { vi } from 'vitest'
import type { BatchEndpoint } from '../../../src/batches/files/batch-endpoint.ts'
import { batchObjectName } from '../../../src/batches/files/stored-file.ts'
import type { BatchRecord } from '../../../src/batches/progress/batch-record.ts'
import { isEnded } from '../../../src/batches/progress/batch-state.ts'
import type { RangeMessage } from '../../../src/batches/progress/range-message.ts'
import type { Ports } from '../../../src/gateway/ports.ts'
import { createVirtualKv } from '../../gateway/virtual-kv.ts'
import { createVirtualTime, type VirtualTime } from '../../gateway/virtual-time.ts'
import { withOwnPool } from '../../http/gateway-driver.ts'
import { inputOf } from './batch-input.ts'
import { createBucket } from './bucket-in-memory.ts'
import type { Dies } from './death-point.ts'
import { type ConsumerWorld, MortalConsumer } from './mortal-consumer.ts'
import { MortalObject, type Outside } from './mortal-object.ts'
import { PaidUpstream, type UpstreamOptions } from './paid-upstream.ts'

/** Alarms of the platform run on the real clock. None of these days has come there. */
export const START_MS = Date.UTC(2040, 0, 15, 12)
const DAY_MS = 24 * 60 * 60_000
const INPUT = 'file-in'
export interface BatchWorldOptions extends UpstreamOptions {
  readonly lines: number
  /** How many lines a range has. */
  readonly perRange?: number
  /** How far the clock goes at once while something runs. */
  readonly stepMs?: number
  /** How often the runtime has a turn after each timer. Fewer are quicker where many timers mean nothing. */
  readonly turns?: number
  readonly endpoint?: BatchEndpoint
  /** Fields of each request, or the whole of it by its id. */
  readonly body?: object | ((id: string) => object)
  /** In the place of the upstream that counts. */
  readonly fetch?: Ports['fetch']
  readonly dies?: Dies
  readonly bindings?: Readonly<Record<string, unknown>>
}

/** Runs a test inside of an object of the platform, with its storage, so that the rows are real. */
export async function inBatchWorld(
  options: BatchWorldOptions,
  use: (world: BatchWorld) => Promise<void>,
): Promise<void> {
  worlds += 1
  const id = `batch_${String(worlds).padStart(32, '0')}`
  const stub = env.KEY_POOL.getByName(batchObjectName(id))
  await runInDurableObject(stub, async (_, state) => {
    const time = createVirtualTime(START_MS, { drain: () => drain(options.turns ?? 3) })
    const clock = vi.spyOn(Date, 'now').mockImplementation(time.nowMs)
    try {
      await use(new BatchWorld(id, state, time, options))
    } finally {
      clock.mockRestore()
      await state.storage.deleteAlarm()
    }
  })
}

let worlds = 0

/** Bodies of the platform need more than turns of the microtask queue. */
async function drain(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setTimeout(resolve, 0))
}

/** A batch's object, a queue, consumers that run side by side, and an upstream that counts. */
export class BatchWorld {
  readonly queue: RangeMessage[] = []
  readonly deadLetters: unknown[] = []
  readonly bucket = createBucket()
  readonly kept = new Map<string, string>()
  readonly over: boolean[] = []
  readonly alerts: string[] = []
  readonly told: Outside['told'] = []
  /** The id of a line whose request ends its Worker. */
  poison = ''
  readonly runs: MortalConsumer[] = []
  readonly upstream: PaidUpstream
  readonly object: MortalObject
  readonly ids: readonly string[]
  readonly time: VirtualTime
  readonly id: string
  readonly #state: DurableObjectState
  readonly #input: ReturnType<typeof inputOf>
  /** What consumers are bound to, besides the batch: of it the pool. */
  readonly bindings: Readonly<Record<string, unknown>>
  readonly #consumers: ConsumerWorld
  readonly #stepMs: number
  readonly #endpoint: BatchEndpoint

  constructor(
    id: string,
    state: DurableObjectState,
    time: VirtualTime,
    { lines, perRange = 3, stepMs = 200, dies = () => false, ...options }: BatchWorldOptions,
  ) {
    this.id = id
    this.#state = state
    this.#stepMs = stepMs
    this.time = time
    this.ids = Array.from({ length: lines }, (_, i) => `line-${i + 1}`)
    this.#endpoint = options.endpoint ?? '/v1/chat/completions'
    this.#input = inputOf(this.ids, perRange, { url: this.#endpoint, bodyOf: bodyOf(options.body) })
    this.bucket.files.set(keyOf(INPUT), this.#input.bytes)
    this.upstream = new PaidUpstream(time, options)
    this.object = new MortalObject(state, this, dies)
    const policy = { POLICY: { defaults: { max_concurrent: 50 } } }
    this.bindings = {
      ...withOwnPool({ ...policy, ...options.bindings }),
      CREDIT: createVirtualKv(time).namespace,
    }
    this.#consumers = {
      ...{ time, dies, object: this.object, r2: this.bucket.r2, bindings: this.bindings },
      fetch: options.fetch ?? this.upstream.fetch,
      isPoison: (body) => this.poison !== '' && body.includes(`"${this.poison}"`),
      again: (message) => void this.queue.push(message),
    }
  }

  /** Its client deletes the file that it reads. */
  deleteInput(): void {
    this.bucket.files.delete(keyOf(INPUT))
  }

  async create(changes: Partial<BatchRecord> = {}): Promise<void> {
    const record = newRecord(this.id, this.ids.length)
    const endpoint = this.#endpoint
    await this.object.now.create({ ...record, endpoint, ...changes }, this.#input.ranges)
  }

  /** The platform forgets the alarm. */
  async loseAlarm(): Promise<void> {
    await this.#state.storage.deleteAlarm()
  }

  /** What anybody may see of the batch. */
  view() {
    const view = this.object.now.view()
    if (view === null) throw new Error('No batch')
    return view
  }

  message(rangeId: number): RangeMessage {
    return { version: 1, batchId: this.id, rangeId }
  }

  consume(message: RangeMessage): void {
    this.runs.push(new MortalConsumer(this.#consumers, message))
  }

  /** Lets time pass, and the alarm ring. Messages stay where they are. */
  async pass(ms: number): Promise<void> {
    await this.time.advance(ms)
    await this.object.ring()
    await this.time.drain()
  }

  /** Messages get their consumers, all at once unless `take` says otherwise, until the batch has ended. */
  async toTheEnd(take = (queue: RangeMessage[]) => queue.splice(0)): Promise<void> {
    for (let turn = 0; turn < 5000; turn += 1) {
      await this.object.ring()
      await this.time.drain()
      for (const message of take(this.queue)) this.consume(message)
      await this.time.drain()
      if (isEnded(this.view().record)) return
      const atMs = await this.#state.storage.getAlarm()
      const isQuiet = this.queue.length === 0 && this.runs.every(({ isOver }) => isOver)
      const restMs = (atMs ?? 0) - this.time.nowMs()
      await this.time.advance(isQuiet ? Math.max(this.#stepMs, restMs) : this.#stepMs)
    }
    throw new Error(`Not at its end: ${JSON.stringify(this.view())}`)
  }

  /** The lines of one of its files. */
  results(file: 'output' | 'error'): readonly ResultLine[] {
    const id = this.view().record[`${file}FileId`]
    if (id === null) return []
    const text = new TextDecoder().decode(this.bucket.files.get(keyOf(id)))
    return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
  }
}

export interface ResultLine {
  readonly custom_id: string
  readonly response: { readonly status_code: number } | null
  readonly error: { readonly code: string } | null
}

function bodyOf(body: BatchWorldOptions['body']): (id: string) => object {
  if (body instanceof Function) return body
  return (id) => ({ model: 'vendor/model', messages: [{ role: 'user', content: id }], ...body })
}

const keyOf = (fileId: string) => `files/tester/${fileId}`

function newRecord(id: string, total: number): BatchRecord {
  return {
    ...{ id, clientId: 'tester', endpoint: '/v1/chat/completions', inputFileId: INPUT },
    ...{ createdAtMs: START_MS, metadata: null, outputKeptMs: DAY_MS, faults: [], total },
    ...{ expiresAtMs: START_MS + DAY_MS, status: 'validating', ending: null, times: {} },
    ...{ redrives: 0, outputFileId: null, errorFileId: null, repeated: 0, tally: null },
  }
}
