import type {
  AlertDuty,
  AlertMessage,
  DeliveryReport,
} from '../../balancing/alerts/alert-outbox.ts'
import type { AlertAddress } from '../../config/alerts/alert-addresses.ts'
import { createTurns } from '../leases/turns.ts'
import type { Ports } from '../ports.ts'
import { alertText } from './alert-text.ts'
import { signatureHeaders } from './signature.ts'

/** What a receiver is sent. */
export interface Notice {
  /** The same at each try. */
  readonly id: string
  /** The event and its phase, with a dot between. */
  readonly type: string
  /** When it happened, in epoch milliseconds. */
  readonly atMs: number
  /** For a person. */
  readonly text: string
  /** For a program. */
  readonly data: object
}

/** Tells operators. No function of it rejects. */
export interface AlertDelivery {
  /** The names of all addresses. */
  readonly names: readonly string[]
  /** Sends the messages of each duty in order, up to the first that fails. */
  deliver(duties: readonly AlertDuty[]): Promise<readonly DeliveryReport[]>
  /** Sends one notice to one address. Null for a name that no address has. */
  send(to: string, notice: Notice): Promise<DeliveryReport | null>
}

/** Four messages of a duty, all of them slow, still fit into the half minute after an answer. */
const TIMEOUT_MS = 5_000

/** Fewer than the connections of an invocation: a request may need some too. */
const MAX_CONNECTIONS = 2

export function createAlertDelivery(
  ports: Pick<Ports, 'fetch' | 'timer' | 'nowMs'>,
  addresses: readonly AlertAddress[],
): AlertDelivery {
  const inTurn = createTurns(MAX_CONNECTIONS)
  const byName = new Map(addresses.map((address) => [address.name, address]))
  const send = async (to: string, notice: Notice): Promise<DeliveryReport | null> => {
    const address = byName.get(to)
    if (address === undefined) return null
    const status = await post(ports, address, notice)
    return { to, id: notice.id, kind: kindOf(status), status }
  }
  const inOrder = async ({ to, messages }: AlertDuty): Promise<DeliveryReport[]> => {
    const reports: DeliveryReport[] = []
    for (const message of messages) {
      // In the midst of a deployment this Worker may not have the address yet: another one will.
      const unknown = { to, id: message.id, kind: 'failed', status: null } as const
      const report = (await send(to, noticeOf(message))) ?? unknown
      reports.push(report)
      if (report.kind !== 'delivered') break
    }
    return reports
  }
  return {
    names: [...byName.keys()],
    send,
    deliver: async (duties) => {
      const reports = await Promise.all(duties.map((duty) => inTurn(() => inOrder(duty))))
      return reports.flat()
    },
  }
}

function kindOf(status: number | null): DeliveryReport['kind'] {
  if (status === 410) return 'gone'
  return status !== null && status >= 200 && status < 300 ? 'delivered' : 'failed'
}

function noticeOf(message: AlertMessage): Notice {
  const { id, event, phase, atMs, alerts, more, missed } = message
  const told = alerts.map(({ subject, sinceMs, facts }) => {
    return { subject, began_at: isoTime(sinceMs), ...facts }
  })
  const data = { event, phase, alerts: told, more, missed }
  return { id, type: `${event}.${phase}`, atMs, text: alertText(message), data }
}

const isoTime = (ms: number): string => new Date(ms).toISOString()

/** @returns the status of the answer; null if there was none in time */
async function post(
  ports: Pick<Ports, 'fetch' | 'timer' | 'nowMs'>,
  { url, secrets, format }: AlertAddress,
  notice: Notice,
): Promise<number | null> {
  const controller = new AbortController()
  const cancel = ports.timer(TIMEOUT_MS, () => controller.abort())
  try {
    const body = JSON.stringify(bodyOf(format, notice))
    const timestamp = Math.floor(ports.nowMs() / 1000)
    const signature = await signatureHeaders(secrets, { id: notice.id, timestamp, body })
    const response = await ports.fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': 'switchyard', ...signature },
      body,
      // What is told is for this address, and for no other that it names.
      redirect: 'manual',
      signal: controller.signal,
    })
    // Nobody reads it: a receiver must not make the gateway hold what it sends.
    await response.body?.cancel()
    return response.status
  } catch {
    // What is thrown may quote the URL, and with it a secret.
    return null
  } finally {
    cancel()
  }
}

/** Chats refuse fields that they do not know, or pass over all but their one. */
function bodyOf(format: AlertAddress['format'], { type, atMs, text, data }: Notice): object {
  switch (format) {
    case 'standard':
      return { type, timestamp: isoTime(atMs), text, data }
    case 'slack':
      return { text }
    case 'discord':
      return { content: text }
  }
}
