"""Statements in other languages: the judge is to hold its tongue there, so every pair of them stands apart."""
import random
NAMES = ["Anna", "Momo", "Ben", "Lucía", "Kenji", "Olga", "Rex", "Mia"]
TOWNS = ["Berlin", "Lyon", "Sevilla", "Gent", "Roma", "Porto", "Kraków", "Oslo", "Ankara", "Kyoto", "Cairo", "Praha", "Köln", "Torino"]
L = {
"de": ["Wohnt in {t}", "Wohnt jetzt in {t}", "Ist nach {t} gezogen", "Mag {x}", "Mag {x} nicht mehr", "Hat eine Schwester namens {n}", "Hat einen Hund namens {n}", "Arbeitet als {j}", "Spricht {s}", "Ist allergisch gegen {f}", "Die Mutter wohnt in {t}", "War letzten Sommer in {t}", "Trinkt keinen {f} mehr", "Spielt am Dienstag {x}"],
"fr": ["Habite à {t}", "A déménagé à {t}", "Aime {x}", "N'aime plus {x}", "A une sœur qui s'appelle {n}", "A un chien qui s'appelle {n}", "Travaille comme {j}", "Parle {s}", "Est allergique à {f}", "Sa mère habite à {t}", "Était à {t} l'été dernier", "Ne boit plus de {f}", "Joue {x} le mardi"],
"es": ["Vive en {t}", "Se mudó a {t}", "Le gusta {x}", "Ya no le gusta {x}", "Tiene una hermana llamada {n}", "Tiene un perro", "Tiene un gato", "Trabaja como {j}", "Habla {s}", "Es alérgico a {f}", "Su madre vive en {t}", "Estuvo en {t} el verano pasado", "Ya no bebe {f}"],
"it": ["Vive a {t}", "Si è trasferito a {t}", "Gli piace {x}", "Non gli piace più {x}", "Ha una sorella che si chiama {n}", "Ha un cane", "Ha un gatto", "Lavora come {j}", "Parla {s}", "È allergica a {f}", "L'estate scorsa era a {t}"],
"pt": ["Mora em {t}", "Mudou-se para {t}", "Gosta de {x}", "Já não gosta de {x}", "Tem uma irmã chamada {n}", "Tem um cão", "Tem um gato", "Trabalha como {j}", "Fala {s}", "É alérgico a {f}"],
"nl": ["Woont in {t}", "Woont nu in {t}", "Is verhuisd naar {t}", "Houdt van {x}", "Houdt niet meer van {x}", "Heeft een zus die {n} heet", "Heeft een hond", "Heeft een kat", "Werkt als {j}", "Spreekt {s}", "Is allergisch voor {f}", "Was vorige zomer in {t}"],
"sv": ["Bor i {t}", "Har flyttat till {t}", "Gillar {x}", "Gillar inte {x} längre", "Har en syster som heter {n}", "Har en hund", "Har en katt", "Jobbar som {j}", "Talar {s}", "Är allergisk mot {f}"],
"da": ["Bor i {t}", "Er flyttet til {t}", "Kan lide {x}", "Har en søster, der hedder {n}", "Har en hund", "Arbejder som {j}", "Taler {s}"],
"fi": ["Asuu kaupungissa {t}", "Muutti kaupunkiin {t}", "Pitää {x}", "Ei enää pidä {x}", "Hänellä on sisko nimeltä {n}", "Hänellä on koira", "Hänellä on kissa", "Puhuu {s}"],
"pl": ["Mieszka w {t}", "Przeprowadził się do {t}", "Lubi {x}", "Nie lubi już {x}", "Ma siostrę {n}", "Ma psa", "Ma kota", "Pracuje jako {j}", "Mówi po {s}", "Ma alergię na {f}"],
"cs": ["Bydlí v {t}", "Přestěhoval se do {t}", "Má rád {x}", "Už nemá rád {x}", "Má sestru {n}", "Má psa", "Pracuje jako {j}", "Mluví {s}"],
"tr": ["{t} şehrinde yaşıyor", "{t} şehrine taşındı", "{x} sever", "Artık {x} sevmiyor", "{n} adında bir kız kardeşi var", "Köpeği var", "Kedisi var", "{s} konuşur"],
"hu": ["{t} városában lakik", "{t} városába költözött", "Szereti: {x}", "Van egy kutyája", "Van egy macskája", "Van egy nővére, {n}"],
"ro": ["Locuiește în {t}", "S-a mutat în {t}", "Îi place {x}", "Are o soră pe nume {n}", "Are un câine", "Are o pisică", "Vorbește {s}"],
"id": ["Tinggal di {t}", "Pindah ke {t}", "Suka {x}", "Tidak suka {x} lagi", "Punya adik bernama {n}", "Punya anjing", "Punya kucing", "Bekerja sebagai {j}"],
"vi": ["Sống ở {t}", "Đã chuyển đến {t}", "Thích {x}", "Không còn thích {x}", "Có một em gái tên {n}", "Nuôi chó", "Nuôi mèo"],
"sw": ["Anaishi {t}", "Alihamia {t}", "Anapenda {x}", "Ana dada anayeitwa {n}", "Ana mbwa", "Ana paka"],
"ru": ["Живёт в городе {t}", "Переехал в {t}", "Любит {x}", "Больше не любит {x}", "Есть сестра {n}", "Есть собака", "Есть кошка", "Говорит {s}", "Любит джаз", "Любит походы", "Работает врачом", "Работает учителем"],
"uk": ["Живе у місті {t}", "Переїхав до {t}", "Любить {x}", "Має сестру {n}", "Має собаку", "Має кота"],
"el": ["Μένει στο {t}", "Μετακόμισε στο {t}", "Του αρέσει {x}", "Έχει σκύλο", "Έχει γάτα", "Δεν του αρέσει πια {x}"],
"ar": ["يسكن في {t}", "انتقل إلى {t}", "يحب الجاز", "يحب المشي", "لا يحب القهوة", "لديه كلب", "لديه قطة"],
"he": ["גר ב{t}", "עבר ל{t}", "אוהב ג'אז", "אוהב לטייל", "יש לו כלב", "יש לו חתול"],
"hi": ["{t} में रहता है", "{t} चला गया", "उसे जैज़ पसंद है", "उसके पास कुत्ता है", "उसके पास बिल्ली है"],
"ja": ["{t}に住んでいる", "{t}に引っ越した", "ジャズが好き", "ハイキングが好き", "犬を飼っている", "猫を飼っている", "もうコーヒーは飲まない"],
"zh": ["住在{t}", "搬到了{t}", "喜欢爵士乐", "喜欢徒步", "养了一只狗", "养了一只猫", "不再喝咖啡"],
"ko": ["{t}에 산다", "{t}로 이사했다", "재즈를 좋아한다", "등산을 좋아한다", "개를 키운다", "고양이를 키운다"],
"th": ["อาศัยอยู่ที่ {t}", "ย้ายไป {t}", "ชอบแจ๊ส", "ไม่ชอบกาแฟ", "เลี้ยงหมา"],
}
X = ["jazz", "wandern", "la randonnée", "el senderismo", "sushi", "tennis", "yoga", "trekking", "opera", "kaffe", "caminhadas", "chess", "tango", "fútbol", "Musik", "le thé", "koken", "wędrówki", "pizza"]
J = ["Lehrerin", "Arzt", "médecin", "profesora", "ingeniero", "cuoco", "professor", "verpleegster", "kock", "lekarz", "perawat", "infirmier", "Bäcker"]
S = ["Polnisch", "Thai", "polonais", "thaï", "polaco", "tailandés", "polacco", "Pools", "Spaans", "svenska", "angielsku", "İspanyolca", "suomea", "Englisch", "francese"]
F = ["Nüsse", "Kaffee", "noix", "café", "nueces", "noci", "noten", "nötter", "orzechy", "Wein", "lait", "leche", "vino", "arachides"]

def foreign(count, chance):
    out, languages = [], list(L)
    def one(lang):
        return (chance.choice(L[lang]).replace("{t}", chance.choice(TOWNS)).replace("{x}", chance.choice(X)).replace("{n}", chance.choice(NAMES))
                .replace("{j}", chance.choice(J)).replace("{s}", chance.choice(S)).replace("{f}", chance.choice(F)))
    for _ in range(count):
        lang = chance.choice(languages)
        out.append((one(lang), one(lang)))
    return out
