import type { GatewayError } from '../gateway/answers/gateway-error.ts'
import type { Gateway } from './composition-root.ts'
import { type ReadBody, readModel } from './request-body.ts'
import {
  type Beside,
  modelFault,
  planRequest,
  type ReadRequest,
  type RequestPlan,
  unknownAlias,
} from './request-plan.ts'

export interface Refused {
  readonly ok: false
  readonly error: GatewayError
}

export interface Planned {
  readonly ok: true
  readonly plan: RequestPlan & { readonly model: string }
}

/** Plans the journey of a request whose body has come. What was read of the body ends with this. */
export async function planBody(
  gateway: Gateway,
  { background, ...request }: Omit<ReadRequest, keyof ReadBody> & Pick<Beside, 'background'>,
): Promise<Planned | Refused> {
  const pause = () => new Promise<void>((resolve) => void gateway.ports.timer(0, resolve))
  const contentType = request.headers.get('content-type') ?? ''
  const read = await readModel(request.bytes, contentType, pause)
  if (!read.ok) return read
  const { model } = read
  const mistake = read.isFixed ? null : unknownAlias(model, gateway.config.policy.aliases)
  const whole = { ...request, ...read }
  const error = mistake ?? (await modelFault(whole, gateway.config.policy.aliases, pause))
  if (error !== null) return { ok: false, error }
  return {
    ok: true,
    plan: { ...(await planRequest(gateway, whole, { pause, background })), model },
  }
}
