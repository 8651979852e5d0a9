/**
 * What the dashboard does besides what its forms and links do: it keeps itself up to date, and shows
 * moments in the viewer's own time. Everything on it comes as HTML from the gateway that has served
 * this script; nothing is asked of anybody else.
 */

const live = document.querySelector('#live')
const RETRY_MS = 3_000

/** @type {EventSource | null} */
let source = null

/** A page that nobody sees asks for nothing. */
function watch() {
  if (document.hidden) {
    source?.close()
    source = null
    return
  }
  if (source !== null || document.querySelector('#headline') === null) return
  tell('connecting', 'connecting …')
  source = new EventSource('/admin/api/events?view=page')
  source.addEventListener('page', ({ data }) => {
    update(JSON.parse(data))
    tell('on', 'live')
  })
  source.addEventListener('error', () => {
    tell('off', 'not live: trying again')
    // The browser connects again by itself, unless it was refused: the session may be over.
    if (source?.readyState === EventSource.CLOSED) {
      source = null
      setTimeout(lookAgain, RETRY_MS)
    }
  })
}

/** Whoever is signed out now is sent to where one signs in. */
async function lookAgain() {
  const response = await fetch('/admin/api/audit', { method: 'HEAD' }).catch(() => null)
  if (response?.status === 401) location.assign('/admin/sign-in')
  else watch()
}

function tell(state, words) {
  if (live === null || live.dataset.state === state) return
  live.dataset.state = state
  live.textContent = words
}

function update({ parts, order }) {
  for (const [id, html] of Object.entries(parts)) {
    const old = document.getElementById(id)
    const fresh = elementOf(html)
    if (fresh === null) continue
    if (old === null) {
      // A key that was configured since.
      if (id.startsWith('key-')) document.querySelector('#key-rows')?.append(fresh)
      continue
    }
    const focused = placeOfFocus(old)
    keepOpen(old, fresh)
    showTimes(fresh)
    old.replaceWith(fresh)
    if (focused !== -1) focusable(fresh)[focused]?.focus({ preventScroll: true })
  }
  if (order !== undefined) reorder(order)
}

/** Rows of keys that are gone stay away. */
function reorder(order) {
  const body = document.querySelector('#key-rows')
  if (body === null) return
  const focused = document.activeElement
  const rows = order.map((id) => document.getElementById(id)).filter((row) => row !== null)
  body.replaceChildren(...rows)
  if (focused instanceof HTMLElement && body.contains(focused)) {
    focused.focus({ preventScroll: true })
  }
}

function elementOf(html) {
  const template = document.createElement('template')
  template.innerHTML = html
  return template.content.firstElementChild
}

const focusable = (element) => [...element.querySelectorAll('a, button, input, select, summary')]

function placeOfFocus(element) {
  return focusable(element).indexOf(document.activeElement)
}

function keepOpen(old, fresh) {
  for (const details of old.querySelectorAll('details[open][id]')) {
    fresh.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute('open', '')
  }
}

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' })
const DAY_AND_CLOCK = new Intl.DateTimeFormat(undefined, {
  dateStyle: 'medium',
  timeStyle: 'short',
})

/** The viewer's own time, with UTC beside it: logs and colleagues elsewhere speak of UTC. */
function showTimes(root) {
  for (const time of root.querySelectorAll('time')) {
    const at = new Date(time.dateTime)
    const isToday = at.toDateString() === new Date().toDateString()
    const own = (isToday ? CLOCK : DAY_AND_CLOCK).format(at)
    const iso = at.toISOString().replace('T', ' ')
    const utc = `${isToday ? iso.slice(11, 19) : iso.slice(0, 16)} UTC`
    time.textContent = at.getTimezoneOffset() === 0 ? utc : `${own} (${utc})`
    if (time.dataset.mark === 'until') time.append(remaining(at))
  }
}

function remaining(at) {
  const element = document.createElement('span')
  element.className = 'remaining'
  element.textContent = remainingText(at)
  return element
}

function remainingText(at) {
  const s = Math.round((at - Date.now()) / 1000)
  if (s <= 0) return ' now'
  if (s < 120) return ` in ${s} s`
  if (s < 7200) return ` in ${Math.round(s / 60)} min`
  return s < 172_800 ? ` in ${Math.round(s / 3600)} h` : ` in ${Math.round(s / 86_400)} days`
}

setInterval(() => {
  for (const element of document.querySelectorAll('.remaining')) {
    const time = element.closest('time')
    if (time !== null) element.textContent = remainingText(new Date(time.dateTime))
  }
}, 1000)

document.addEventListener('visibilitychange', watch)
showTimes(document)
watch()
