import type { PoolOverview } from '../../../balancing/operators/overview.ts'
import { Head } from './layout.tsx'
import { Moment, msText, plural } from './quantities.tsx'

const MAX_LANES = 10

/** Who waits for a key, and for which model; the longest lane first. */
export function QueueTable({ queue }: Pick<PoolOverview, 'queue'>) {
  const { waiting, maxWaiting, maxWaitMs, lanes } = queue
  const room = `Up to ${maxWaiting} may wait, each for ${msText(maxWaitMs)} at most.`
  if (waiting === 0) {
    return (
      <p id="queue-lanes" class="empty">
        Nobody waits for a key. {room}
      </p>
    )
  }
  return (
    <div id="queue-lanes">
      <p>
        {plural(waiting, 'request')} in {plural(queue.laneCount, 'lane')}. {room}
      </p>
      <table>
        <Head of={['Client', 'Model', 'Waiting']} />
        <tbody>
          {lanes.slice(0, MAX_LANES).map((lane) => (
            <tr>
              <th scope="row">{lane.client}</th>
              <td data-label="Model">{lane.model}</td>
              <td data-label="Waiting">
                {lane.waiting}{' '}
                <small>
                  the last gives up <Moment ms={lane.lastDeadlineMs} mark="until" />
                </small>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
