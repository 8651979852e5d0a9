import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import type { Gateway } from '../composition-root.ts'

export type UpstreamGet =
  | { readonly ok: true; readonly response: Response }
  | { readonly ok: false; readonly error: GatewayError }

/** Sends one GET to OpenRouter. Gives up if the headers do not come within `headers_ms`. */
export async function fetchInTime(
  { config, ports }: Pick<Gateway, 'config' | 'ports'>,
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<UpstreamGet> {
  const controller = new AbortController()
  const cancel = ports.timer(config.policy.timeouts.headersMs, () => controller.abort())
  try {
    const response = await ports.fetch(url, {
      redirect: 'manual',
      headers,
      signal: controller.signal,
    })
    return { ok: true, response }
  } catch {
    const error = controller.signal.aborted
      ? gatewayError('upstream_timeout', 'OpenRouter did not answer in time. Try again.')
      : gatewayError('upstream_unreachable', 'OpenRouter could not be reached. Try again.')
    return { ok: false, error }
  } finally {
    cancel()
  }
}
