import type { AddressStanding } from '../../address-standing.ts'
import { Head } from './layout.tsx'
import { plural } from './quantities.tsx'

interface Shown {
  readonly addresses: readonly AddressStanding[]
  readonly mayWrite: boolean
}

const STATES: Readonly<Record<AddressStanding['state'], readonly [badge: string, words: string]>> =
  {
    well: ['well', 'told'],
    failing: ['out', 'not reached'],
    gone: ['out', 'gone'],
    silent: ['off', 'told of nothing'],
  }

/** Where alerts go, and whether they get there. */
export function AddressesTable({ addresses, mayWrite }: Shown) {
  if (addresses.length === 0) {
    return (
      <p id="alert-addresses" class="empty">
        Nobody is told of alerts: ALERTS is not set. They are in the log.
      </p>
    )
  }
  return (
    <table id="alert-addresses">
      <Head of={['Address', 'State', 'To deliver', ...(mayWrite ? ['Actions'] : [])]} />
      <tbody>
        {addresses.map(({ name, events, state, waiting }) => (
          <tr>
            <th scope="row">
              {name} <small>{plural(events.length, 'event')}</small>
            </th>
            <td data-label="State">
              <span class={`badge ${STATES[state][0]}`}>{STATES[state][1]}</span>
            </td>
            <td data-label="To deliver">{plural(waiting, 'message')}</td>
            {mayWrite && (
              <td data-label="Actions">
                <a href={`/admin/confirm?do=test_alert&id=${name}`} aria-label={`test ${name}`}>
                  test
                </a>
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  )
}
