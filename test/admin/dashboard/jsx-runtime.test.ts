import { expect, it } from 'vitest'
import { Fragment, jsx } from '../../../src/admin/dashboard/jsx-runtime.ts'

it('escapes what stands in values and children, once, and leaves markup of its own as it is', () => {
  const hostile = `<img src=x onerror="alert('1')">&`
  const page = jsx('p', {
    title: hostile,
    children: [jsx('b', { children: hostile }), ' ', jsx(Fragment, { children: [hostile, 7] })],
  })
  const escaped = '&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;'
  expect(String(page)).toBe(`<p title="${escaped}"><b>${escaped}</b> ${escaped}7</p>`)
})

it('leaves out what is not there, and ends only elements that have an end', () => {
  const told = { required: true, disabled: false, value: undefined, maxlength: 0 }
  const input = jsx('input', { name: 'id', ...told })
  expect(String(input)).toBe('<input name="id" required="" maxlength="0">')
  expect(String(jsx('span', { children: [null, undefined, false, '', 0] }))).toBe('<span>0</span>')
  expect(String(jsx('td', {}))).toBe('<td></td>')
})
