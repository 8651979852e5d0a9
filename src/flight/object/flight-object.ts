import { DurableObject } from 'cloudflare:workers'
import type { Ports } from '../../gateway/ports.ts'
import { gatewayOf, MEMORY } from '../../http/composition-root.ts'
import type { EventPlace } from '../event-ids.ts'
import type {
  DurableReply,
  DurableRequest,
  FetchReply,
  FlightReply,
  JoinRequest,
} from '../flight-protocol.ts'
import { createAnswerRows } from './answer-rows.ts'
import { FlightHost } from './flight-host.ts'

/** The Durable Object of one cache key, or of one client's durable answers. What it does is in its host. */
export class FlightObject extends DurableObject<Env> {
  readonly #host: FlightHost | null = null

  constructor(ctx: DurableObjectState, env: Env, ports: Ports) {
    super(ctx, env)
    const result = gatewayOf(env, ports)
    if (!result.ok) return
    const memory = ctx.id.name === undefined ? MEMORY : MEMORY.ofObject(ctx.id.name)
    this.#host = new FlightHost({
      ports,
      gateway: { ...result.gateway, memory },
      rows: createAnswerRows(ctx.storage),
      background: (work) => ctx.waitUntil(work),
      setAlarm: (atMs) => ctx.waitUntil(ctx.storage.setAlarm(atMs)),
    })
  }

  async join(request: JoinRequest): Promise<FlightReply> {
    return await this.#open().join(request)
  }

  async durable(request: DurableRequest): Promise<DurableReply> {
    return await this.#open().durable(request)
  }

  fetchAnswer(answerId: string, after: EventPlace | null): FetchReply {
    return this.#open().fetchAnswer(answerId, after)
  }

  leave(seat: string): void {
    this.#open().leave(seat)
  }

  isolate(): string {
    return MEMORY.id
  }

  override async alarm(): Promise<void> {
    if (this.#open().dropExpired()) await this.ctx.storage.deleteAll()
  }

  /** Throws without a valid configuration. A Worker with the same faults never calls the object. */
  #open(): FlightHost {
    if (this.#host === null) throw new Error('The flight has no valid configuration')
    return this.#host
  }
}
