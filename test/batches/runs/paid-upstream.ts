import type { VirtualTime } from '../../gateway/virtual-time.ts'
import { json } from '../../http/gateway-driver.ts'

export interface UpstreamCall {
  /** The text of its message: the `custom_id` of its line. */
  readonly id: string
  readonly atMs: number
}

export interface UpstreamOptions {
  /** How long it takes for its headers. */
  readonly answerMs?: number
  /** What it says to a call; null for a good answer. */
  readonly answer?: (call: UpstreamCall, nth: number) => Response | null
}

export const COST_USD = 0.001

/** Answers each call after a while, and is paid for each good answer, whoever lives to read it. */
export class PaidUpstream {
  readonly calls: UpstreamCall[] = []
  /** The ids of the lines whose answers were paid for. */
  readonly paid: string[] = []
  /** What was asked beside the lines: the paths. */
  readonly lookups: string[] = []
  /** How many calls waited for headers at once, at most. */
  mostWaiting = 0
  #waiting = 0
  readonly #time: VirtualTime
  readonly #options: UpstreamOptions

  constructor(time: VirtualTime, options: UpstreamOptions) {
    this.#time = time
    this.#options = options
  }

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const isCall = init.method === 'POST'
    if (!isCall) this.lookups.push(new URL(url).pathname)
    const call = { id: isCall ? idOf(init) : '', atMs: this.#time.nowMs() }
    if (isCall) this.calls.push(call)
    const nth = this.calls.filter(({ id }) => id === call.id).length
    this.#waiting += 1
    this.mostWaiting = Math.max(this.mostWaiting, this.#waiting)
    const { answerMs = 500, answer } = this.#options
    await new Promise<void>((resolve) => void this.#time.objectTimer(answerMs, resolve))
    this.#waiting -= 1
    if (!isCall) return json(LISTS.find(([path]) => url.endsWith(path))?.[1] ?? UNCAPPED)
    const other = answer?.(call, nth) ?? null
    if (other !== null) return other
    this.paid.push(call.id)
    return json({
      id: `gen-${this.calls.length}`,
      choices: [
        { index: 0, message: { role: 'assistant', content: call.id }, finish_reason: 'stop' },
      ],
      usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2, cost: COST_USD },
    })
  }
}

const UNCAPPED = { data: { limit: null, limit_remaining: null, usage: 0 } }

const PRICED = {
  ...{ id: 'vendor/model', context_length: 1000, top_provider: { max_completion_tokens: 100 } },
  pricing: { prompt: '0.000001', completion: '0.000002' },
}
const LISTS = [
  ['/embeddings/models', { data: [] }],
  ['/models', { data: [PRICED] }],
  ['/endpoints', { data: { ...PRICED, endpoints: [PRICED] } }],
] as const

function idOf({ body }: RequestInit): string {
  return String(JSON.parse(new TextDecoder().decode(body as Uint8Array)).messages[0].content)
}
