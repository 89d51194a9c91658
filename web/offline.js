// Keeps a copy of all that was loaded, for when there is no network.
const CACHE = "arbstyle";

addEventListener("install", (event) => event.waitUntil(keepAll()));
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  event.respondWith(answer(request));
});

async function keepAll() {
  const cache = await caches.open(CACHE);
  await cache.addAll(["./", ...(await (await fetch("files.json")).json())]);
  await skipWaiting();
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    await response.clone().arrayBuffer(); // what breaks off is answered from the copy
    if (response.ok) await cache.put(request, response.clone()).catch(() => {}); // there may be no room
    return response;
  } catch (error) {
    const kept = await cache.match(request);
    if (kept) return kept;
    throw error;
  }
}
