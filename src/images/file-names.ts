/** Extensions that torchvision's ImageFolder takes, and further ones of formats that are read here. */
const IMAGE_FILE = /\.(jpe?g|png|ppm|bmp|pgm|tiff?|webp|jpe|jfif|gif|avif)$/i;

/** Formats that are not read, and images that another program has not finished or put aside. */
const LOOKS_LIKE_IMAGE =
  /\.(hei[cf]|jp2|j2[kc]|jpx|jxl|svgz?|psd|ico|tga|exr|hdr|pbm|pnm|pcx|dds|dng|cr[23]|nef|arw|rw2|orf|raf)$|\.(jpe?g|png|ppm|bmp|pgm|tiff?|webp|jpe|jfif|gif|avif)(~|\.(bak|orig|old|tmp|part|partial|crdownload|download|gz))$/i;

/** Folders that operating systems and tools put among images: never a class. */
const SYSTEM_FOLDERS = new Set([
  ...['__MACOSX', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'System Volume Information'],
  ...['.thumbs', '.thumbnails', '.AppleDouble', '.Trashes', '.ipynb_checkpoints', '.git', '.dvc'],
]);

export function isImageName(name: string): boolean {
  return IMAGE_FILE.test(name);
}

export function looksLikeImage(name: string): boolean {
  return LOOKS_LIKE_IMAGE.test(name);
}

export function isSystemFolder(name: string): boolean {
  return SYSTEM_FOLDERS.has(name);
}

export function isHidden(name: string): boolean {
  return name.startsWith('.');
}
