import { signal } from "@preact/signals";

export type Route = { page: "queue" } | { page: "progress" } | { page: "image"; id: number };

export function routeOf(hash: string): Route {
  const image = /^#\/image\/(\d+)$/.exec(hash);
  if (image) return { page: "image", id: Number(image[1]) };
  return hash === "#/progress" ? { page: "progress" } : { page: "queue" };
}

export const route = signal<Route>(routeOf(location.hash));
addEventListener("hashchange", () => (route.value = routeOf(location.hash)));

export const queuePath = "#/queue";
export const progressPath = "#/progress";
export const imagePath = (id: number): string => `#/image/${id}`;

export function go(path: string): void {
  location.hash = path;
}
