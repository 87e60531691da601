// Questions and documents to begin with.

export const examples = {
  english: {
    query: "When was the paper coffee filter patented, and by whom?",
    documents: [
      {
        title: "Coffee filter",
        text: "A coffee filter holds back the grounds while water runs through them. Early filters were made of "
          + "linen, which was hard to clean. Melitta Bentz, who lived in Dresden, tried blotting paper from her "
          + "son's school book in a pierced brass pot. She received a patent for the paper filter on 20 June 1908. "
          + "Today most filters are made of bleached or unbleached paper. They can be composted with the grounds.",
      },
      {
        title: "Melitta Bentz",
        text: "Amalie Auguste Melitta Bentz was born in Dresden in 1873. With her husband she founded a company in "
          + "December 1908, with 73 pfennigs of capital. The firm moved to Minden in 1929. It still sells filters, "
          + "coffee and machines.",
      },
      {
        title: "Espresso",
        text: "Espresso is brewed by forcing hot water through finely ground coffee. The first machine was patented "
          + "in Turin in 1884 by Angelo Moriondo. A shot takes about 25 seconds. It is the base of many other drinks.",
      },
    ],
  },
  japanese: {
    query: "富士山の標高は何メートルですか。",
    documents: [
      {
        title: "富士山",
        text: "富士山は静岡県と山梨県にまたがる活火山である。標高は3776メートルで、日本で最も高い山である。"
          + "2013年に世界文化遺産に登録された。毎年夏には多くの登山者が訪れる。",
      },
      {
        title: "北岳",
        text: "北岳は山梨県にある山で、南アルプスに属する。富士山に次いで日本で二番目に高く、標高は3193メートルである。"
          + "高山植物のキタダケソウで知られる。",
      },
    ],
  },
};
