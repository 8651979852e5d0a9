import type { ClientId, GroupId, ModelId } from '../ids.ts'

/**
 * Whose kept answers an operator has thrown away, and when. Each name has an epoch that a purge raises.
 * The epochs of a request's names are a part of its cache key: answers of before are not found any more,
 * wherever they lie, and end with their time.
 */
export interface Purges {
  readonly epochs: Map<EpochName, number>
  /** Whether it has to be written. */
  isChanged: boolean
}

export type EpochName =
  | 'all'
  /** What all clients share. */
  | 'pool'
  | `client:${string}`
  | `group:${string}`
  | `model:${string}`
  /** By its place in the configuration. */
  | `route:${number}`

export type PurgeOrder =
  | { readonly kind: 'all' }
  | { readonly kind: 'client'; readonly id: ClientId }
  | { readonly kind: 'model'; readonly model: ModelId }
  | { readonly kind: 'route'; readonly index: number }

/** Every isolate has a copy of them, and asks for it twice a minute. */
const MAX_NAMES = 1_000

export function createPurges(): Purges {
  return { epochs: new Map(), isChanged: false }
}

/**
 * Throws kept answers away.
 * @param groupId that of the order's client, if it has one
 */
export function purge(
  purges: Purges,
  order: PurgeOrder,
  groupId: GroupId | null,
  nowMs: number,
): void {
  const { epochs } = purges
  // Never one that was there before, whatever the clock says.
  const epoch = Math.max(nowMs, ...[...epochs.values()].map((value) => value + 1))
  for (const name of namesOf(order, groupId)) epochs.set(name, epoch)
  if (epochs.size > MAX_NAMES) {
    // To forget a name would bring its answers back. All of them go instead.
    epochs.clear()
    epochs.set('all', epoch)
  }
  purges.isChanged = true
}

/**
 * What a client shares with others cannot be told apart from what others share with it, so it goes too:
 * rather too much than too little.
 */
function namesOf(order: PurgeOrder, groupId: GroupId | null): readonly EpochName[] {
  switch (order.kind) {
    case 'all':
      return ['all']
    case 'client':
      return [
        `client:${order.id}`,
        ...(groupId === null ? [] : [`group:${groupId}` as const]),
        'pool',
      ]
    case 'model':
      return [`model:${order.model}`]
    case 'route':
      return [`route:${order.index}`]
  }
}

/** The epochs of some names in one text, for a cache key. */
export function epochOf(
  epochs: Readonly<Record<string, number>>,
  names: readonly EpochName[],
): string {
  return names.map((name) => epochs[name] ?? 0).join('.')
}

/** What an operator sees of an order in the audit. */
export function purgedBy(order: PurgeOrder): string {
  switch (order.kind) {
    case 'all':
      return 'all'
    case 'client':
      return `client:${order.id}`
    case 'model':
      return `model:${order.model}`
    case 'route':
      return `route:${order.index}`
  }
}
